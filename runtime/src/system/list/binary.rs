//! What could be probed in programs and libraries: their functions and usdt probes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tapline_compiler::probes::has_wildcard;
use tapline_compiler::target::{Glob, LANGUAGES, function_at};
use tapline_compiler::types::btf::Btf;
use tapline_compiler::types::btf::print::plain_name;

use super::{ListError, Lister};
use crate::symbols::elf::ElfSymbols;
use crate::system::{binaries, usdt};

/// Functions of a program whose types are asked for at first; each time twice as many, so that the first lines come at once and all of
/// them in little more time than the last answer takes.
const FIRST_BATCH: usize = 16;

impl Lister<'_> {
    pub(super) fn binary(&mut self, provider: &str, rest: &str) -> Result<(), ListError> {
        let in_language = LANGUAGES.into_iter().find_map(|language| {
            let (path, function) = rest.split_once(&format!(":{language}"))?;
            Some((path, language, function))
        });
        let (path, language, function) = in_language.unwrap_or_else(|| {
            let (path, function) = rest.rsplit_once(':').unwrap_or((rest, "*"));
            (path, "", function)
        });
        for path in files(path)? {
            let symbols = match ElfSymbols::load(&path) {
                Ok(symbols) => symbols,
                // Not every file that a wildcard meets is a program.
                Err(_) if has_wildcard(rest.split(':').next().unwrap_or_default()) => continue,
                Err(error) => return Err(ListError::Binary(path, error)),
            };
            let pattern = format!("{language}{}", function.trim_matches('"'));
            let functions = binaries::functions(&symbols, &pattern);
            let (mut rest, mut size) = (functions.as_slice(), FIRST_BATCH);
            while !rest.is_empty() {
                let (batch, later) = rest.split_at(size.min(rest.len()));
                (rest, size) = (later, size.saturating_mul(2));
                let offsets: Vec<u64> = batch.iter().map(|found| found.offset).collect();
                let wanted = path.to_str().filter(|_| self.verbose && provider == "uprobe");
                let types = wanted.and_then(|path| self.system.types_of_functions(path, &offsets));
                for found in batch {
                    self.line(&format!("{provider}:{}:{language}{}", path.display(), found.name))?;
                    if let Some(btf) = &types {
                        self.user_arguments(btf, found.offset)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The parameters of a user function.
    pub(super) fn user_arguments(&mut self, btf: &Btf, offset: u64) -> Result<(), ListError> {
        let Some(proto) = btf.function(&function_at(offset)) else { return Ok(()) };
        for param in proto.params() {
            self.argument(&format!("{} {}", plain_name(btf, param.ty), param.name))?;
        }
        Ok(())
    }

    pub(super) fn usdt(&mut self, rest: &str) -> Result<(), ListError> {
        let mut parts = rest.split(':');
        let file = parts.next().unwrap_or_default();
        let (provider, name) = match (parts.next(), parts.next()) {
            (Some(provider), Some(name)) => (provider, name),
            (Some(name), None) => ("*", name),
            _ => ("*", "*"),
        };
        let (provider, name) = (Glob::new(provider), Glob::new(name));
        for path in files(file)? {
            let probes = match usdt::load(&path) {
                Ok(probes) => probes,
                Err(_) if has_wildcard(file) => continue,
                Err(error) => return Err(ListError::Binary(path, error)),
            };
            let matching = probes.iter().filter(|probe| provider.matches(&probe.provider) && name.matches(&probe.name));
            let names: BTreeSet<String> = matching.map(|probe| format!("{}:{}", probe.provider, probe.name)).collect();
            for name in names {
                self.line(&format!("usdt:{}:{name}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// The files that a name or a path with wildcards stands for.
fn files(name: &str) -> Result<Vec<PathBuf>, ListError> {
    let found = if has_wildcard(name) { binaries::matching(name) } else { binaries::find(name).into_iter().collect() };
    if found.is_empty() { Err(ListError::NoBinary(name.to_owned())) } else { Ok(found) }
}
