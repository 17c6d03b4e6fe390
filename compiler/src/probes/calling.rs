//! Where the arguments of a user function lie at its entry, by the calling conventions of C (the `SysV` ABI of `x86_64`, the
//! procedure call standard of aarch64) and of Go: since 1.17 in registers, before on the stack.

use super::registers::registers;
use crate::target::Arch;
use crate::types::btf::{Floats, Leaf};

/// What the conventions look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of a value.
    pub size: u64,
    /// A struct, union or array.
    pub aggregate: bool,
    /// Where it has floating-point numbers.
    pub floats: Floats,
}

/// Where an argument lies. Words are counted as `argN` counts them: registers first, then the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In this word and, of a larger one, in those that follow.
    Words(u32),
    /// In memory to which this word points.
    Behind(u32),
    /// In floating-point registers, at least a part of it.
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
    let free = Free { words: 0, registers: registers(arch).args.len() as u32, floats: FLOAT_REGISTERS, stack: 0 };
    let place = |free: &mut Free, shape: &Shape| {
        Some(match arch {
            Arch::X86_64 => sysv(free, shape),
            Arch::Aarch64 => aapcs(free, shape),
        })
    };
    arguments.iter().scan(free, place).collect()
}

/// What the arguments so far have left over.
struct Free {
    /// Registers that are used.
    words: u32,
    /// Registers for arguments.
    registers: u32,
    /// Floating-point registers that are left.
    floats: u32,
    /// Words on the stack that are used.
    stack: u32,
}

impl Free {
    /// So many registers next to each other, if there are.
    fn registers(&mut self, words: u32) -> Option<u32> {
        let at = self.words;
        let end = at.checked_add(words).filter(|end| *end <= self.registers)?;
        self.words = end;
        Some(at)
    }
    fn floats(&mut self, count: u32) -> Option<Location> {
        self.floats = self.floats.checked_sub(count)?;
        Some(Location::Float)
    }
    fn stack(&mut self, words: u32) -> u32 {
        let at = self.stack;
        self.stack = at.saturating_add(words);
        self.registers.saturating_add(at)
    }
}

fn words(shape: &Shape) -> u32 {
    u32::try_from(shape.size.div_ceil(WORD)).unwrap_or(u32::MAX).max(1)
}

/// `x86_64`: each word of a value of at most two goes into a register of its kind; all of them do, or none.
fn sysv(free: &mut Free, shape: &Shape) -> Location {
    let words = words(shape);
    // `long double` is in memory.
    if words <= 2 && !shape.floats.large {
        let floats = shape.floats.words.iter().filter(|is| **is).count() as u32;
        let others = words.saturating_sub(floats);
        if free.floats >= floats
            && let Some(at) = free.registers(others)
        {
            free.floats -= floats;
            return if floats > 0 { Location::Float } else { Location::Words(at) };
        }
    }
    Location::Words(free.stack(words))
}

/// aarch64: up to four floating-point numbers of one size go into their registers, larger structs are passed by their address.
/// When something does not fit, what follows does not go back to the registers that are left.
fn aapcs(free: &mut Free, shape: &Shape) -> Location {
    let words = words(shape);
    if shape.floats.same > 0 {
        return free.floats(shape.floats.same).unwrap_or_else(|| {
            free.floats = 0;
            Location::Words(free.stack(words))
        });
    }
    let by_reference = shape.aggregate && words > 2;
    let words = if by_reference { 1 } else { words };
    let at = free.registers(words).unwrap_or_else(|| {
        free.words = free.registers;
        free.stack(words)
    });
    if by_reference { Location::Behind(at) } else { Location::Words(at) }
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

    fn value(size: u64, aggregate: bool, parts: &[(u32, u32, bool)]) -> Shape {
        Shape { size, aggregate, floats: Floats::of(size, parts) }
    }
    fn int() -> Shape {
        value(4, false, &[(0, 4, false)])
    }
    fn double() -> Shape {
        value(8, false, &[(0, 8, true)])
    }
    fn object(size: u64) -> Shape {
        value(size, true, &[(0, size as u32, false)])
    }

    #[test]
    fn numbers_fill_the_registers_then_the_stack() {
        let all = locations(Arch::X86_64, &vec![int(); 8]);
        assert_eq!(all, (0..8).map(Words).collect::<Vec<_>>());
        assert_eq!(locations(Arch::Aarch64, &vec![int(); 9]).last(), Some(&Words(8)));
    }

    #[test]
    fn floating_point_numbers_take_no_word_until_their_registers_are_used_up() {
        assert_eq!(locations(Arch::X86_64, &[int(), double(), int()]), [Words(0), Float, Words(1)]);
        let all = locations(Arch::X86_64, &vec![double(); 9]);
        assert_eq!(all.last(), Some(&Words(6)));
    }

    #[test]
    fn each_word_of_a_struct_is_of_a_kind() {
        let mixed = value(16, true, &[(0, 8, true), (8, 8, false)]);
        let one_word = value(8, true, &[(0, 4, true), (4, 4, false)]);
        let two_floats = value(8, true, &[(0, 4, true), (4, 4, true)]);
        let three_doubles = value(24, true, &[(0, 8, true), (8, 8, true), (16, 8, true)]);
        let extended = value(16, false, &[(0, 16, true)]);
        let shapes = [mixed, one_word, two_floats, three_doubles, extended, int()];
        let sysv = [Float, Words(1), Float, Words(6), Words(9), Words(2)];
        assert_eq!(locations(Arch::X86_64, &shapes), sysv);
        assert_eq!(locations(Arch::Aarch64, &shapes), [Words(0), Words(2), Float, Float, Float, Words(3)]);
    }

    #[test]
    fn a_struct_that_finds_too_few_registers_of_a_kind_leaves_those_of_the_other() {
        let mixed = value(16, true, &[(0, 8, true), (8, 8, false)]);
        let shapes = [vec![double(); 8], vec![mixed, int()]].concat();
        assert_eq!(locations(Arch::X86_64, &shapes).get(8..), Some([Words(6), Words(0)].as_slice()));
        let shapes = [vec![int(); 6], vec![mixed, double(), double()]].concat();
        assert_eq!(locations(Arch::X86_64, &shapes).get(6..), Some([Words(6), Float, Float].as_slice()));
    }

    #[test]
    fn structs_go_by_their_size() {
        let shapes = [object(8), object(24), object(16), int()];
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
        let shapes = [int(), int(), int(), int(), int(), object(16), int()];
        let all = locations(Arch::X86_64, &shapes);
        assert_eq!(all.get(5..), Some([Words(6), Words(5)].as_slice()));
        let shapes = [int(), int(), int(), int(), int(), int(), int(), object(16), int()];
        let all = locations(Arch::Aarch64, &shapes);
        assert_eq!(all.get(7..), Some([Words(8), Words(10)].as_slice()));
    }
}
