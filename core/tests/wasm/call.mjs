// Calls functions of a WebAssembly module that needs nothing of its host, and prints what each returns:
// node call.mjs MODULE FUNCTION...

import { readFile } from 'node:fs/promises';

const [path, ...names] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(await readFile(path), {});
for (const name of names) {
  console.log(`${name} ${BigInt.asUintN(64, instance.exports[name]())}`);
}
