//! Maps of the script as user space sees them: whole contents in few system calls, the CPUs' copies reduced to one value,
//! entries in printing order.

pub mod reduce;
pub mod table;
pub mod view;
