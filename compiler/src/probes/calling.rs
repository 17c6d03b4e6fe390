//! Where the arguments of a user function lie at its entry, by the calling conventions of C (the `SysV` ABI of `x86_64`, the
//! procedure call standard of aarch64) and of Go: since 1.17 in registers, before on the stack.

use super::registers::registers;
use crate::target::Arch;
use crate::types::btf::Leaf;

/// What the conventions look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of a value.
    pub size: u64,
    /// A struct, union or array.
    pub aggregate: bool,
    /// It is a floating-point number, or has one as a part.
    pub float: bool,
}

/// Where an argument lies. Words are counted as `argN` counts them: registers first, then the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In this word and, of a larger one, in those that follow.
    Words(u32),
    /// In memory to which this word points.
    Behind(u32),
    /// In a floating-point register.
    Float,
    /// Its numbers and pointers each in a register of their own, at these offsets of the context.
    Registers(Vec<u32>),
    /// So many bytes above the stack pointer.
    Stack(u32),
}

const WORD: u64 = 8;

/// Floating-point registers for arguments, on both processors.
const FLOAT_REGISTERS: u32 = 8;

/// The places of all arguments of a function, in order.
pub fn locations(arch: Arch, arguments: &[Shape]) -> Vec<Location> {
    let registers = registers(arch).args.len() as u32;
    let (mut used, mut floats, mut stack) = (0u32, 0u32, 0u32);
    let place = |shape: &Shape| {
        let words = u32::try_from(shape.size.div_ceil(WORD)).unwrap_or(u32::MAX).max(1);
        let by_reference = arch == Arch::Aarch64 && shape.aggregate && shape.size > 2 * WORD;
        let in_registers = if by_reference { 1 } else { words };
        if shape.float && !by_reference && (!shape.aggregate || shape.size <= 2 * WORD) && floats < FLOAT_REGISTERS {
            floats += words.min(FLOAT_REGISTERS - floats);
            return Location::Float;
        }
        // A large struct is on the stack, wherever registers are left.
        let fits =
            in_registers <= 2 && used.saturating_add(in_registers) <= registers && (!shape.float || by_reference);
        let at = if fits {
            used += in_registers;
            used - in_registers
        } else {
            if arch == Arch::Aarch64 && !shape.float {
                // What follows does not go back to the registers that are left.
                used = registers;
            }
            stack = stack.saturating_add(in_registers);
            registers.saturating_add(stack - in_registers)
        };
        if by_reference { Location::Behind(at) } else { Location::Words(at) }
    };
    arguments.iter().map(place).collect()
}

/// What Go's convention looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoShape {
    /// Bytes of a value.
    pub size: u64,
    /// Of what its address is a multiple.
    pub align: u32,
    /// The numbers and pointers that it consists of; `None` for what is not in registers.
    pub leaves: Option<Vec<Leaf>>,
}

impl GoShape {
    /// A pointer.
    pub fn word() -> Self {
        Self { size: WORD, align: 8, leaves: Some(vec![Leaf { offset: 0, size: 8, float: false }]) }
    }
}

/// The places of all arguments of a function of Go, in order: an argument whose parts all find a register is in them, any
/// other lies on the stack.
pub fn go_locations(arch: Arch, arguments: &[GoShape]) -> Vec<Location> {
    let registers = registers(arch);
    let mut free = registers.go_args;
    let mut free_floats = match arch {
        Arch::X86_64 => 15,
        Arch::Aarch64 => 16,
    };
    let mut stack = registers.stack_args;
    let place = |shape: &GoShape| {
        if let Some(leaves) = &shape.leaves {
            let floats = leaves.iter().filter(|leaf| leaf.float).count();
            if let (Some((own, left)), true) = (free.split_at_checked(leaves.len() - floats), floats <= free_floats) {
                free = left;
                free_floats -= floats;
                return if floats > 0 { Location::Float } else { Location::Registers(own.to_vec()) };
            }
        }
        let at = stack.checked_next_multiple_of(shape.align.max(1)).unwrap_or(u32::MAX);
        stack = at.saturating_add(u32::try_from(shape.size).unwrap_or(u32::MAX));
        Location::Stack(at)
    };
    arguments.iter().map(place).collect()
}

/// Where a function of Go has an argument that its source does not show: the types that a generic one is used with.
pub fn go_dictionary(function: &str) -> Option<usize> {
    let (_, rest) = function.split_once("[go.shape.")?;
    let (_, behind) = rest.rsplit_once(']')?;
    match behind {
        "" => Some(0),
        // A closure finds them with what else it has captured.
        closure if closure.starts_with(".func") => None,
        // Of a method, the receiver is the first argument.
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::Location::{Behind, Float, Registers, Stack, Words};
    use super::*;

    const INT: Shape = Shape { size: 4, aggregate: false, float: false };
    const DOUBLE: Shape = Shape { size: 8, aggregate: false, float: true };
    const fn object(size: u64) -> Shape {
        Shape { size, aggregate: true, float: false }
    }

    #[test]
    fn numbers_fill_the_registers_then_the_stack() {
        let all = locations(Arch::X86_64, &[INT; 8]);
        assert_eq!(all, (0..8).map(Words).collect::<Vec<_>>());
        assert_eq!(locations(Arch::Aarch64, &[INT; 9]).last(), Some(&Words(8)));
    }

    #[test]
    fn floating_point_numbers_take_no_word_until_their_registers_are_used_up() {
        assert_eq!(locations(Arch::X86_64, &[INT, DOUBLE, INT]), [Words(0), Float, Words(1)]);
        let all = locations(Arch::X86_64, &[DOUBLE; 9]);
        assert_eq!(all.last(), Some(&Words(6)));
    }

    #[test]
    fn structs_go_by_their_size() {
        let shapes = [object(8), object(24), object(16), INT];
        assert_eq!(locations(Arch::X86_64, &shapes), [Words(0), Words(6), Words(1), Words(3)]);
        assert_eq!(locations(Arch::Aarch64, &shapes), [Words(0), Behind(1), Words(2), Words(4)]);
    }

    #[test]
    fn go_gives_each_part_a_register_and_what_does_not_fit_the_stack() {
        let parts = |size, floats: &[bool]| GoShape {
            size,
            align: 8,
            leaves: Some(floats.iter().map(|&float| Leaf { offset: 0, size: 8, float }).collect()),
        };
        let byte = GoShape { size: 1, align: 1, leaves: Some(vec![Leaf { offset: 0, size: 1, float: false }]) };
        let array = GoShape { size: 16, align: 8, leaves: None };
        let shapes =
            [GoShape::word(), parts(24, &[false; 3]), parts(8, &[true]), array.clone(), parts(48, &[false; 6]), byte];
        let one = |offset| Registers(vec![offset]);
        let expected = [one(80), Registers(vec![40, 88, 112]), Float, Stack(8), Stack(24), one(104)];
        assert_eq!(go_locations(Arch::X86_64, &shapes), expected);
        let byte = GoShape { size: 1, align: 1, leaves: None };
        assert_eq!(go_locations(Arch::Aarch64, &[byte.clone(), array, byte]), [Stack(0), Stack(8), Stack(24)]);
    }

    #[test]
    fn without_registers_all_arguments_of_go_lie_on_the_stack() {
        let shape = |size, align| GoShape { size, align, leaves: None };
        let all = [shape(4, 4), shape(8, 8), shape(1, 1), shape(16, 8)];
        assert_eq!(go_locations(Arch::X86_64, &all), [Stack(8), Stack(16), Stack(24), Stack(32)]);
    }

    #[test]
    fn a_generic_function_of_go_has_an_argument_of_its_own() {
        assert_eq!(go_dictionary("main.Map[go.shape.int_0,go.shape.string_1]"), Some(0));
        assert_eq!(go_dictionary("main.(*Box[go.shape.int_0]).Put"), Some(1));
        assert_eq!(go_dictionary("main.Map[go.shape.int_0].func1"), None);
        assert_eq!((go_dictionary("main.(*Box[int]).Put"), go_dictionary("main.main")), (None, None));
    }

    #[test]
    fn a_struct_is_never_split_between_registers_and_stack() {
        let shapes = [INT, INT, INT, INT, INT, object(16), INT];
        let all = locations(Arch::X86_64, &shapes);
        assert_eq!(all.get(5..), Some([Words(6), Words(5)].as_slice()));
        let shapes = [INT, INT, INT, INT, INT, INT, INT, object(16), INT];
        let all = locations(Arch::Aarch64, &shapes);
        assert_eq!(all.get(7..), Some([Words(8), Words(10)].as_slice()));
    }
}
