//! `watchpoint:address:length:mode`: fires when memory is read, written or executed, by the processor's debug registers.

use super::{Concrete, ProbeError, Request, Resolved};
use crate::expand::Context;
use crate::number;
use crate::program::{Attach, ProgramKind};
use crate::target::Arch;

/// Letters of a mode with the bits of perf (`HW_BREAKPOINT_R` and so on).
const MODES: [(char, u32); 3] = [('r', 1), ('w', 2), ('x', 4)];

/// `HW_BREAKPOINT_X`.
const EXECUTE: u32 = 4;

/// Addresses from here on are the kernel's.
const KERNEL: u64 = 1 << 63;

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    // The first releases had room for a file there: `watchpoint::address:length:mode`.
    match request.parts {
        [file, rest @ ..] if rest.len() == 3 && file.node.is_empty() => request.parts = rest,
        [_, _, _] => {}
        _ => {
            let d = request.invalid(0, "wrong number of parts in a watchpoint probe");
            return Err(ProbeError::invalid(d.help(format!("its form is `{}`", request.provider.form))));
        }
    }
    if let Some((function, argument)) = request.part(0).split_once('+')
        && argument.starts_with("arg")
    {
        let d = request.invalid(0, "a watchpoint has a fixed address");
        let d = d.label(format!("not known before `{function}` is called"));
        return Err(ProbeError::invalid(d.help(format!(
            "print the address first: `uprobe:FILE:{function} {{ printf(\"%p\", {argument}); }}`, and watch that one with -p"
        ))));
    }
    let address = number::parse(request.part(0)).or_else(|| request.target.kernel_symbol(request.part(0)));
    let Some(address) = address else {
        let d = request.invalid(0, format!("`{}` is neither an address nor a symbol of the kernel", request.part(0)));
        return Err(ProbeError::invalid(d.help(format!("its form is `{}`", request.provider.form))));
    };
    let Some(length) = number::parse(request.part(1)).filter(|length| matches!(length, 1 | 2 | 4 | 8)) else {
        let d = request.invalid(1, "the length of a watchpoint is 1, 2, 4 or 8 bytes");
        return Err(ProbeError::invalid(d.label(format!("`{}` is not one of them", request.part(1)))));
    };
    let mode = mode(request)?;
    if address % length != 0 {
        let message = format!("the address of a watchpoint over {length} bytes must be a multiple of {length}");
        return Err(ProbeError::invalid(request.invalid(0, message)));
    }
    let user = address < KERNEL;
    if user && request.options.pid.is_none() {
        let d = request.invalid(0, "a watchpoint in user memory needs a process").label("an address of which process?");
        return Err(ProbeError::invalid(d.help("name it with `-p PID`, or start it with `-c COMMAND`")));
    }
    let parts: Vec<&str> = request.parts.iter().map(|part| part.node.as_str()).collect();
    Ok(vec![Concrete {
        name: format!("watchpoint:{}", parts.join(":")),
        attach: Attach::Watchpoint { address, length, mode },
        kind: ProgramKind::PerfEvent,
        context: Context::Watchpoint { user },
    }])
}

/// The bits of the mode.
fn mode(request: &Request<'_>) -> Result<u32, ProbeError> {
    let text = request.part(2);
    let mut bits = 0;
    for letter in text.chars() {
        let Some((_, bit)) = MODES.iter().find(|(known, bit)| *known == letter && bits & bit == 0) else {
            let d = request.invalid(2, format!("`{text}` is not a mode"));
            let help = "a mode is made of the letters `r`, `w` and `x`, each at most once";
            return Err(ProbeError::invalid(d.help(help)));
        };
        bits |= bit;
    }
    if bits == 0 || (bits & EXECUTE != 0 && bits != EXECUTE) {
        let d = request.invalid(2, "a watchpoint is for execution alone, or for reads and writes");
        return Err(ProbeError::invalid(d.help("modes are: `x`, `r`, `w`, `rw`")));
    }
    if bits == 1 && request.target.arch() == Arch::X86_64 {
        let d = request.invalid(2, "this processor cannot watch for reads alone");
        return Err(ProbeError::invalid(d.help("watch for both: `rw`")));
    }
    Ok(bits)
}
