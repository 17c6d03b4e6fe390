//! `fentry:[module:]function` and `fexit:[module:]function`: programs that the function itself calls, with arguments and result as BTF
//! describes them. One program for each function.

use super::kprobe::{self, Symbol};
use super::{Concrete, ProbeError, Request, Resolved, close_names, has_wildcard, renamed};
use crate::diagnostic::Diagnostic;
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};
use crate::target::{BpfFunction, Feature, Glob, ProbeSource, TargetError, program_types, similar};
use crate::types::btf::{Btf, BtfType, FuncProto, KindSet, TypeId};

/// The kernel itself, named like a module.
pub const KERNEL: &str = "vmlinux";

/// What stands in the place of a module for the programs that run in the kernel.
pub const BPF: &str = "bpf";

/// Arguments that the kernel can hand on (`MAX_BPF_FUNC_ARGS`).
const MAX_ARGS: usize = 12;

/// Bytes of a struct that travels in registers.
const MAX_BY_VALUE: u64 = 16;

/// Functions that run a program themselves or that programs run in: the kernel refuses them, or would not survive it.
const REFUSED: &[(&str, &str)] = &[
    ("__rcu_read_lock", "programs run inside of it"),
    ("__rcu_read_unlock", "programs run inside of it"),
    ("migrate_disable", "every program calls it"),
    ("migrate_enable", "every program calls it"),
    ("preempt_count_add", "every program calls it"),
    ("preempt_count_sub", "every program calls it"),
    ("rcu_read_unlock_strict", "programs run inside of it"),
];

/// Functions that never return, so that nothing is ever left to trace.
const ENDLESS: &[&str] = &[
    "__module_put_and_kthread_exit",
    "__x64_sys_exit",
    "__x64_sys_exit_group",
    "do_exit",
    "do_group_exit",
    "kthread_complete_and_exit",
    "kthread_exit",
    "make_task_dead",
];

/// Locks that the kernel takes on the way to a program at a return, which then takes them again: the machine hangs.
pub const DEADLY_RETURNS: &[&str] =
    &["_raw_spin_lock", "_raw_spin_lock_irqsave", "_raw_spin_unlock_irqrestore", "queued_spin_lock_slowpath"];

/// What a user is told about them.
pub const DEADLY: &str = "to run a program here the kernel takes the same lock again: the machine would hang";

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let exit = request.provider.name == "fexit";
    let (module, function) = match request.parts {
        [module, id @ .., function] if module.node == BPF => {
            return of_programs(request, id.first().map(|it| it.node.as_str()), &function.node, exit);
        }
        [module, function] => (Some(module.node.clone()), function.node.clone()),
        [function] => (None, function.node.clone()),
        _ => {
            let d = Diagnostic::error("attach-point", "wrong number of parts", request.span);
            return Err(ProbeError::invalid(d.help(format!("its form is `{}`", request.provider.form))));
        }
    };
    check(request, &function)?;
    if request.target.btf().is_none() {
        let message = format!("{} needs the kernel's BTF, which is not there", request.provider.name);
        let d = Diagnostic::error("no-btf", message, request.span);
        return Err(ProbeError::invalid(
            d.help(format!("use a {} instead", if exit { "kretprobe" } else { "kprobe" })),
        ));
    }
    if renamed::inlined(&function, request.target) {
        return Err(ProbeError::missing(missing(request, module.as_deref(), &function)));
    }
    let mut points = Vec::new();
    let mut unfit = None;
    for module in modules(request, module.as_deref()) {
        functions_of(request, &module, &function, exit, &mut points, &mut unfit)?;
        if !points.is_empty() && !has_wildcard(&function) && !has_wildcard(request.part(0)) {
            break;
        }
    }
    if points.is_empty() {
        return Err(unfit.unwrap_or_else(|| ProbeError::missing(missing(request, module.as_deref(), &function))));
    }
    let kprobe = if exit { "kretprobe" } else { "kprobe" };
    need_fentry(request, &format!("try a {kprobe}, or a tracepoint: `tapline -l 'tracepoint:*'` lists them"))?;
    Ok(points)
}

fn need_fentry(request: &Request<'_>, help: &str) -> Result<(), ProbeError> {
    if request.target.has(Feature::Fentry) {
        return Ok(());
    }
    let message = format!("this kernel has no {}", request.provider.name);
    let d = Diagnostic::error("no-fentry", message, request.span)
        .label("the function exists, but cannot be traced")
        .note("it needs a kernel built with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, 5.5 or newer");
    Err(ProbeError::invalid(d.help(help)))
}

/// What is wrong whatever the kernel has.
fn check(request: &Request<'_>, function: &str) -> Result<(), ProbeError> {
    let provider = request.provider.name;
    let last = request.parts.len().saturating_sub(1);
    if function.is_empty() {
        let d = request.invalid(last, format!("a {provider} needs the name of a function"));
        return Err(ProbeError::invalid(d.help(format!("its form is `{}`", request.provider.form))));
    }
    if function.contains('+') {
        let d = request.invalid(last, format!("a {provider} has no offset"));
        return Err(ProbeError::invalid(d.help("leave the offset away, or use a kprobe")));
    }
    Ok(())
}

/// `fentry:bpf:[id:]name`: functions of BPF programs, by the types that these brought with them.
fn of_programs(request: &Request<'_>, id: Option<&str>, pattern: &str, exit: bool) -> Resolved {
    let provider = request.provider.name;
    let id = id.filter(|id| *id != "*");
    if let Some(id) = id.filter(|id| id.parse::<u32>().is_err()) {
        let d = request.invalid(1, format!("`{id}` is not the id of a BPF program"));
        return Err(ProbeError::invalid(d.help(format!("`tapline -l '{provider}:{BPF}:*'` lists them"))));
    }
    let glob = Glob::new(pattern);
    let known = request.target.bpf_functions();
    let of_program = |it: &&BpfFunction| id.is_none_or(|id| id == it.program.to_string());
    let point = |it: &BpfFunction| {
        let module = Some(program_types(it.program));
        Concrete {
            name: format!("{provider}:{BPF}:{}:{}", it.program, it.name),
            attach: Attach::Function { function: it.name.clone(), module: module.clone(), btf_id: it.btf_id },
            kind: if exit { ProgramKind::Fexit } else { ProgramKind::Fentry },
            context: Context::Trampoline { module, function: it.name.clone(), exit },
        }
    };
    let points: Vec<Concrete> =
        known.iter().filter(of_program).filter(|it| glob.matches(&it.name)).map(point).collect();
    if !points.is_empty() {
        need_fentry(request, "trace what the program itself traces")?;
        return Ok(points);
    }
    let message = match id {
        Some(id) => format!("there is no BPF program `{pattern}` with the id {id} on this system"),
        None => format!("there is no BPF program `{pattern}` on this system"),
    };
    let d = Diagnostic::error("missing-probe", message, request.span).label("does not exist here");
    let names = known.iter().filter(of_program).map(|it| it.name.as_str());
    Err(ProbeError::missing(match close_names(&similar(pattern, names)) {
        Some(help) => d.help(help),
        None => d.note(format!("only programs with BTF can be traced: `tapline -l '{provider}:{BPF}:*'` lists them")),
    }))
}

/// The kernel and the modules to search, in this order.
fn modules(request: &Request<'_>, wanted: Option<&str>) -> Vec<String> {
    match wanted {
        Some(name) if !has_wildcard(name) => vec![name.to_owned()],
        other => {
            let glob = Glob::new(other.unwrap_or("*"));
            let all = std::iter::once(KERNEL.to_owned()).chain(request.target.modules_with_btf());
            all.filter(|name| glob.matches(name)).collect()
        }
    }
}

/// Adds the functions of a module that match; why one cannot be traced goes to `unfit`.
fn functions_of(
    request: &Request<'_>,
    module: &str,
    pattern: &str,
    exit: bool,
    points: &mut Vec<Concrete>,
    unfit: &mut Option<ProbeError>,
) -> Result<(), ProbeError> {
    let own;
    let btf: &Btf = if module == KERNEL {
        let Some(btf) = request.target.btf() else { return Ok(()) };
        btf
    } else {
        own = request.target.module_btf(module);
        let Some(btf) = &own else { return Ok(()) };
        btf
    };
    let literal = !has_wildcard(pattern);
    // What has no prototype is nothing for us, and the list of functions takes long.
    if literal && module != KERNEL && btf.find_own(KindSet::FUNC, pattern).is_none() {
        return Ok(());
    }
    // A plain name of the kernel is found without its whole list.
    let question = if module == KERNEL && literal { pattern.to_owned() } else { format!("{module}:{pattern}") };
    let names = match request.target.probe_names(ProbeSource::KernelFunctions, &question) {
        Ok(names) => names,
        Err(TargetError::NotFound) => Vec::new(),
        // A kernel without function tracing has no list of functions; its BTF has them all.
        Err(_) if literal && btf.find_own(KindSet::FUNC, pattern).is_some() => vec![pattern.to_owned()],
        Err(e) => return Err(ProbeError::invalid(request.unavailable(&e))),
    };
    for function in names {
        let Some(id) = btf.find_own(KindSet::FUNC, &function) else { continue };
        if let Some(reason) = refusal(btf, id, &function, exit) {
            let provider = request.provider.name;
            let d = Diagnostic::error("untraceable", format!("{provider} cannot trace `{function}`"), request.span);
            let kprobe = if exit { "kretprobe" } else { "kprobe" };
            unfit.get_or_insert_with(|| {
                ProbeError::invalid(d.label(reason).help(format!("a {kprobe} may do: `{kprobe}:{function}`")))
            });
            continue;
        }
        let of_module = (module != KERNEL).then(|| module.to_owned());
        points.push(Concrete {
            name: format!("{}:{module}:{function}", request.provider.name),
            attach: Attach::Function { function: function.clone(), module: of_module.clone(), btf_id: id.0 },
            kind: if exit { ProgramKind::Fexit } else { ProgramKind::Fentry },
            context: Context::Trampoline { module: of_module, function, exit },
        });
    }
    Ok(())
}

/// Why a function cannot be traced.
pub fn refusal(btf: &Btf, function: TypeId, name: &str, exit: bool) -> Option<&'static str> {
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Some(reason);
    }
    if exit && DEADLY_RETURNS.contains(&name) {
        return Some(DEADLY);
    }
    if exit && ENDLESS.contains(&name) {
        return Some("it never returns");
    }
    let BtfType::Func { proto, .. } = btf.get(function) else { return Some("it has no prototype") };
    let BtfType::FuncProto(proto) = btf.get(proto) else { return Some("it has no prototype") };
    unfit_prototype(btf, proto)
}

fn unfit_prototype(btf: &Btf, proto: FuncProto<'_>) -> Option<&'static str> {
    let params = proto.params();
    if params.len() > MAX_ARGS {
        return Some("it has more than 12 arguments");
    }
    for param in params {
        if param.ty == TypeId::VOID {
            return Some("it takes a variable number of arguments");
        }
        let ty = btf.resolve(param.ty);
        let by_value = matches!(btf.get(ty), BtfType::Struct(_) | BtfType::Union(_));
        let most = if by_value { MAX_BY_VALUE } else { 8 };
        if btf.size_of(ty).is_none_or(|size| size > most) {
            return Some("an argument does not fit into registers");
        }
    }
    if proto.ret != TypeId::VOID {
        let ret = btf.resolve(proto.ret);
        let aggregate = matches!(btf.get(ret), BtfType::Struct(_) | BtfType::Union(_) | BtfType::Float { .. });
        if ret != TypeId::VOID && (aggregate || btf.size_of(ret).is_some_and(|size| size > 8)) {
            return Some("its result does not fit into a register");
        }
    }
    None
}

fn missing(request: &Request<'_>, module: Option<&str>, function: &str) -> Diagnostic {
    let provider = request.provider.name;
    if let Some(module) = module.filter(|name| !has_wildcard(name) && *name != KERNEL)
        && request.target.module_btf(module).is_none()
    {
        let message = format!("the kernel module `{module}` is not loaded, or has no BTF");
        let d = Diagnostic::error("missing-probe", message, request.part_span(0)).label("not found");
        let all = request.target.modules_with_btf();
        return match close_names(&similar(module, all.iter().map(String::as_str))) {
            Some(help) => d.help(help),
            None => d,
        };
    }
    let what = match (has_wildcard(function), module) {
        (true, _) => format!("function that matches and that {provider} can trace:"),
        (false, Some(module)) if module != KERNEL => {
            format!("traceable function in the kernel module `{module}` with the name")
        }
        _ => "traceable kernel function".to_owned(),
    };
    if !has_wildcard(function)
        && let Ok(found) = request.target.probe_names(ProbeSource::KernelFunctions, &format!("{function}.*"))
        && let [copy, ..] = kprobe::copies(function, found, |name| name).as_slice()
    {
        let kprobe = if provider == "fexit" { "kretprobe" } else { "kprobe" };
        return Diagnostic::error(
            "missing-probe",
            format!("the compiler renamed `{function}` to `{copy}`"),
            request.span,
        )
        .label(format!("{provider} cannot trace it"))
        .note("it changed the function's arguments, so that the kernel has no prototype of it")
        .help(format!("a {kprobe} may do: `{kprobe}:{function}`"));
    }
    let d = request.missing(&what, function, ProbeSource::KernelFunctions);
    let known = || request.target.btf().is_some_and(|btf| btf.find(KindSet::FUNC, function).is_some());
    match kprobe::kernel_symbol(request, function) {
        _ if module.is_some() => d,
        Symbol::Variable(note) => d.label("not a function").note(note),
        Symbol::Code if !known() => d
            .label("not traceable")
            .note(format!("the kernel has it, but not its prototype, without which {provider} cannot trace it")),
        Symbol::Code => d.label("not traceable"),
        Symbol::None => d,
    }
}
