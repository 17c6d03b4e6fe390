//! Where the arguments of a user function lie at its entry, by the calling conventions of C: the `SysV` ABI of `x86_64`, the
//! procedure call standard of aarch64.

use super::registers::registers;
use crate::target::Arch;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In this word and, of a larger one, in those that follow.
    Words(u32),
    /// In memory to which this word points.
    Behind(u32),
    /// In a floating-point register.
    Float,
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

#[cfg(test)]
mod tests {
    use super::Location::{Behind, Float, Words};
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
    fn a_struct_is_never_split_between_registers_and_stack() {
        let shapes = [INT, INT, INT, INT, INT, object(16), INT];
        let all = locations(Arch::X86_64, &shapes);
        assert_eq!(all.get(5..), Some([Words(6), Words(5)].as_slice()));
        let shapes = [INT, INT, INT, INT, INT, INT, INT, object(16), INT];
        let all = locations(Arch::Aarch64, &shapes);
        assert_eq!(all.get(7..), Some([Words(8), Words(10)].as_slice()));
    }
}
