//! Tests of reading and writing FLV.

mod builder;
mod damage;
mod pitfalls;
