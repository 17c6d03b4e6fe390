//! The command `tapline`.

fn main() {}
