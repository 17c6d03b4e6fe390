//! Passes over the intermediate representation, one file each. Those that the object needs are run by `backend`.

pub mod map_values;
pub mod slots;
