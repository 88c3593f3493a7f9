//! Tests of reading and writing FLV.

mod builder;
mod damage;
mod enhanced;
mod files;
mod oracle;
mod pitfalls;
mod properties;
mod writing;
