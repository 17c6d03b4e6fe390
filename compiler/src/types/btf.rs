//! A lazy reader of kernel BTF. It never builds all types: one table of type offsets, names looked up on demand.
pub struct Btf;
