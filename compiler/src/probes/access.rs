//! What a program reaches through its context, and the message where it cannot.

use tapline_grammar::span::Span;

use super::registers::registers;
use super::{Access, PROVIDERS, Provider};
use crate::diagnostic::Diagnostic;
use crate::expand::Context;
use crate::target::Arch;

/// Where the value of an `argN`, of `retval` or of a register lies. All are 8 bytes wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this offset of the context.
    Context(u32),
    /// On the stack: `offset` bytes above the address that the context holds at `sp`.
    Stack {
        /// Offset in the context of the stack pointer.
        sp: u32,
        /// Bytes above it.
        offset: u32,
        /// The stack is in user space.
        user: bool,
    },
}

/// A raw tracepoint passes this many arguments at most (`MAX_BPF_FUNC_ARGS` of `linux/bpf.h`).
pub const MAX_RAW_TRACEPOINT_ARGS: u32 = 12;

/// Arguments on the stack are reachable up to this number; nothing in the kernel has more.
const MAX_ARGS: u32 = 64;

/// Where argument `n` lies; `None` when the context has none or none of that number.
pub fn argument(context: &Context, arch: Arch, n: u32) -> Option<Place> {
    match context {
        Context::RawTracepoint { .. } | Context::Trampoline { .. } => {
            (n < MAX_RAW_TRACEPOINT_ARGS).then_some(Place::Context(n * 8))
        }
        Context::KernelEntry { .. } | Context::UserEntry { .. } => {
            let regs = registers(arch);
            if let Some(&offset) = regs.args.get(n as usize) {
                return Some(Place::Context(offset));
            }
            let beyond = n.checked_sub(regs.args.len() as u32).filter(|_| n < MAX_ARGS)?;
            let user = matches!(context, Context::UserEntry { .. });
            Some(Place::Stack { sp: regs.sp, offset: regs.stack_args + beyond * 8, user })
        }
        _ => None,
    }
}

/// Offset in the context of the return value.
pub fn return_value(context: &Context, arch: Arch) -> Option<u32> {
    match context {
        Context::KernelReturn { .. } | Context::UserReturn { .. } => Some(registers(arch).ret),
        _ => None,
    }
}

/// Whether the context begins with registers.
pub fn has_registers(context: &Context) -> bool {
    matches!(
        context,
        Context::KernelEntry { .. }
            | Context::KernelReturn { .. }
            | Context::UserEntry { .. }
            | Context::UserReturn { .. }
            | Context::Usdt { .. }
            | Context::PerfEvent
            | Context::Watchpoint { .. }
    )
}

/// Refuses a builtin where the provider does not offer what it needs. `builtin` is what was written (`arg0`, `retval`).
pub fn require(provider: &Provider, access: Access, builtin: &str, span: Span) -> Result<(), Box<Diagnostic>> {
    if provider.access.contains(&access) {
        return Ok(());
    }
    let offering: Vec<&str> = PROVIDERS.iter().filter(|p| p.access.contains(&access)).map(|p| p.name).collect();
    let message = format!("`{builtin}` is not available in {} probes", provider.name);
    let mut d = Diagnostic::error("not-available-here", message, span)
        .label("the event has no such value")
        .note(format!("`{builtin}` is available in: {}", offering.join(", ")));
    if let Some(help) = instead(provider, access) {
        d = d.help(help);
    }
    Err(Box::new(d))
}

/// What a provider offers in the place of something else.
fn instead(provider: &Provider, access: Access) -> Option<&'static str> {
    let offers = |a| provider.access.contains(&a);
    match access {
        Access::ArgN if provider.name == "tracepoint" => {
            Some("use the fields of `args`; `tapline -lv 'tracepoint:…'` lists them")
        }
        Access::ArgN if offers(Access::Retval) => {
            Some("save the arguments in the entry probe: `kprobe:f { @a[tid] = arg0; }`, and read `@a[tid]` here")
        }
        Access::Retval if offers(Access::ArgN) && provider.name.ends_with("probe") => {
            Some("use the return probe of the same function")
        }
        Access::Retval if provider.name == "tracepoint" => Some("in `sys_exit_…` tracepoints the result is `args.ret`"),
        Access::Args if offers(Access::ArgN) => Some("use `arg0`, `arg1` and so on"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::provider;
    use super::*;

    fn entry() -> Context {
        Context::KernelEntry { module: None, function: "f".into() }
    }

    #[test]
    fn arguments_in_registers_then_on_the_stack() {
        let kernel = |n| argument(&entry(), Arch::X86_64, n);
        assert_eq!(kernel(0), Some(Place::Context(112)));
        assert_eq!(kernel(5), Some(Place::Context(64)));
        assert_eq!(kernel(6), Some(Place::Stack { sp: 152, offset: 8, user: false }));
        assert_eq!(kernel(7), Some(Place::Stack { sp: 152, offset: 16, user: false }));
        assert_eq!(kernel(u32::MAX), None);
        assert_eq!(argument(&entry(), Arch::Aarch64, 7), Some(Place::Context(56)));
        assert_eq!(
            argument(&Context::UserEntry { path: "/a".into(), offset: 1 }, Arch::Aarch64, 8),
            Some(Place::Stack { sp: 248, offset: 0, user: true })
        );
    }

    #[test]
    fn raw_tracepoints_have_twelve_words() {
        let context = Context::RawTracepoint { event: "e".into() };
        assert_eq!(argument(&context, Arch::X86_64, 11), Some(Place::Context(88)));
        assert_eq!(argument(&context, Arch::X86_64, 12), None);
        assert_eq!(argument(&Context::PerfEvent, Arch::X86_64, 0), None);
    }

    #[test]
    fn return_values() {
        let context = Context::KernelReturn { function: "f".into() };
        assert_eq!(return_value(&context, Arch::X86_64), Some(80));
        assert_eq!(return_value(&Context::UserReturn { path: "/a".into() }, Arch::Aarch64), Some(0));
        assert_eq!(return_value(&entry(), Arch::X86_64), None);
    }

    #[test]
    fn refusals_name_the_way_out() {
        let span = Span::default();
        assert!(require(provider("kprobe").unwrap(), Access::ArgN, "arg0", span).is_ok());
        let d = require(provider("tracepoint").unwrap(), Access::ArgN, "arg0", span).unwrap_err();
        assert_eq!(d.message, "`arg0` is not available in tracepoint probes");
        assert!(d.help.first().unwrap().contains("args"));
        let d = require(provider("kprobe").unwrap(), Access::Retval, "retval", span).unwrap_err();
        assert!(d.notes.first().unwrap().contains("kretprobe"), "{:?}", d.notes);
        assert_eq!(d.help, ["use the return probe of the same function"]);
    }
}
