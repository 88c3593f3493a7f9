#!/usr/bin/env bash
# Makes a certificate for tests on this machine, beside this script: certificate.pem, certificate.key and
# its SHA-256, by which browsers can be told to accept it: fingerprint.txt in hexadecimal, and certificate_fingerprint.hex
# as 32 bytes, which is the file that the pages of moq-encoder-player look for.
#
# ECDSA P-256, valid for 13 days and not an authority: what browsers ask of a certificate that is trusted by its hash.
# Never deploy it: get a certificate for your own name instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v openssl >/dev/null; then
  echo "create-server-certs.sh: openssl is not installed; install it (on Debian: apt-get install openssl) and run this again" >&2
  exit 1
fi

umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days 13 \
  -keyout certificate.key -out certificate.pem \
  -subj "/CN=localhost" \
  -addext "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1" \
  -addext "basicConstraints=critical,CA:FALSE" \
  -addext "keyUsage=critical,digitalSignature" \
  -addext "extendedKeyUsage=serverAuth" 2>/dev/null
openssl x509 -in certificate.pem -outform der | openssl dgst -sha256 -r | cut -d' ' -f1 >fingerprint.txt
openssl x509 -in certificate.pem -outform der | openssl dgst -sha256 -binary >certificate_fingerprint.hex
chmod 644 certificate.pem fingerprint.txt certificate_fingerprint.hex

echo "certificate: $(pwd)/certificate.pem"
echo "key:         $(pwd)/certificate.key"
echo "SHA-256:     $(cat fingerprint.txt)"
