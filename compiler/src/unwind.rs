//! The tables by which user stacks are unwound inside a probe: the runtime fills them from `.eh_frame`, `lower::unwind` emits
//! the code that walks them. This is their layout, in the machine's byte order.
//!
//! Three maps: the process's entry says which part of the table of mappings is its own, sorted by address; a mapping says
//! which part of the table of rows describes its code; a row holds from its address up to that of the next one.
//! Entries once written never change: a process that has new mappings gets a new part, and then its entry is replaced.

/// A process: key `u32` thread group id.
pub mod process {
    /// `u32`: index of the first mapping.
    pub const FIRST: i32 = 0;
    /// `u32`: mappings.
    pub const COUNT: i32 = 4;
    /// Bytes.
    pub const SIZE: u32 = 8;
    /// Processes at most.
    pub const MOST: u32 = 1024;
}

/// A mapping of code: key `u32` index.
pub mod mapping {
    /// `u64`: first address.
    pub const START: i32 = 0;
    /// `u64`: first address behind it.
    pub const END: i32 = 8;
    /// `u64`: what is subtracted from an address to compare it with rows.
    pub const BIAS: i32 = 16;
    /// `u32`: index of the first row.
    pub const FIRST: i32 = 24;
    /// `u32`: rows.
    pub const COUNT: i32 = 28;
    /// Bytes.
    pub const SIZE: u32 = 32;
    /// Mappings of one process at most.
    pub const MOST_OF_PROCESS: u32 = 1 << 12;
    /// Mappings at most.
    pub const MOST: u32 = 1 << 15;
}

/// A row: key `u32` index.
pub mod row {
    /// `u32`: where its code begins.
    pub const PC: i32 = 0;
    /// `i16`: added to the register to find the caller's frame.
    pub const CFA: i32 = 4;
    /// `i8`: where the frame pointer was saved, in words from the caller's frame; 0 when it was not.
    pub const RBP: i32 = 6;
    /// `u8`: one of `rule`.
    pub const RULE: i32 = 7;
    /// Bytes.
    pub const SIZE: u32 = 8;
    /// Rows of one mapping at most.
    pub const MOST_OF_MAPPING: u32 = 1 << 22;
    /// Rows when the runtime asks for no other number: room for a hundred libraries.
    pub const MOST: u32 = 1 << 20;
}

/// How the caller's frame is found. The return address lies in the word below it.
pub mod rule {
    /// The stack ends here, or nothing is known.
    pub const STOP: u8 = 0;
    /// By the stack pointer.
    pub const RSP: u8 = 1;
    /// By the frame pointer.
    pub const RBP: u8 = 2;
    /// Inside of a procedure linkage table, where every entry pushes one word in its second half.
    pub const PLT: u8 = 3;
    /// The frame that the kernel made for a signal handler: the registers lie in its context.
    pub const SIGNAL: u8 = 4;
}
