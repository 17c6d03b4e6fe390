//! The files of a compilation: what a script imports and includes, as one script.
//!
//! An `import` is replaced by the items of what it names, so that probes stand in the order in which they are imported. All files
//! share the macros of the preprocessor, as if they were one text. A file counts once, however it is named.
//!
//! Invariant: what is read is bounded in depth and in number, the text of a file by [`Files`].

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tapline_grammar::ast::{Block, Import, Item, MacroDef, Script, Stmt, StmtKind};
use tapline_grammar::span::{FileId, Span};
use tapline_grammar::{Header, Headers, ParseOptions, Preamble, SyntaxError, parse_among, parse_header};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::driver::Input;
use crate::expand::walk;
use crate::similar;
use crate::source::SourceMap;

/// Files may import each other this deep.
const MAX_DEPTH: usize = 32;
/// So many files are imported. How much is included is bounded by the preprocessor.
const MAX_FILES: usize = 1000;
/// The functions that bpftrace's own library defines are built in.
const LIBRARY: &str = "stdlib";
/// Endings of what would need a C compiler or a linker.
const NATIVE: &[&str] = &["c", "o"];

/// The file system, as far as imports and includes need it.
pub trait Files {
    /// What lies at a path; `None` when nothing does.
    fn open(&self, path: &Path) -> Option<Entry>;
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The same for the same file, however it is named.
    pub identity: PathBuf,
    /// Everybody may change it, or the folder that it lies in.
    pub writable_by_all: bool,
    /// What it holds.
    pub content: Content,
}

/// What a file or folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A file's text.
    Text(String),
    /// The names in a folder.
    Folder(Vec<String>),
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// No files at all: a script stands alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn open(&self, _: &Path) -> Option<Entry> {
        None
    }
}

/// A script with everything that it imports.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The items of all files.
    pub script: Script,
    /// All files; the script itself is the first.
    pub sources: SourceMap,
    /// What is wrong with any of them.
    pub diagnostics: Diagnostics,
}

/// Reads a script and what it needs. `has_btf` is asked when a text wants to know.
pub fn load(input: &Input, files: &dyn Files, has_btf: &dyn Fn() -> bool) -> Loaded {
    let opened = Opened { files, folders: &input.include_folders, state: RefCell::default() };
    let mut loader = Loader {
        opened: &opened,
        has_btf,
        preamble: Preamble::new(&ParseOptions::default()),
        imported: HashSet::new(),
        items: Vec::new(),
        diagnostics: Vec::new(),
    };
    let file = opened.add(&input.name, &input.text);
    for path in &input.includes {
        loader.include(path);
    }
    let script = loader.parse(file, &input.text, None);
    // The file system is not asked for scripts without imports.
    if script.items.iter().any(|item| matches!(item, Item::Import(_)))
        && let Some(entry) = files.open(Path::new(&input.name))
    {
        loader.imported.insert(entry.identity);
    }
    loader.merge(script.items, 0);
    let Loader { items, diagnostics, .. } = loader;
    let sources = opened.state.into_inner().sources;
    Loaded { script: Script { shebang: script.shebang, items }, sources, diagnostics }
}

/// The files opened so far; what `#include` finds.
struct Opened<'a> {
    files: &'a dyn Files,
    /// Where headers are searched (`-I`).
    folders: &'a [PathBuf],
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    sources: SourceMap,
    headers: HashMap<PathBuf, Header>,
}

impl Opened<'_> {
    fn add(&self, name: &str, text: &str) -> FileId {
        self.state.borrow_mut().sources.add(name, text)
    }

    /// A path as the file `from` means it.
    fn beside(&self, from: FileId, path: &str) -> PathBuf {
        let state = self.state.borrow();
        let name = state.sources.file(from).map_or("", |file| file.name());
        Path::new(name).parent().unwrap_or(Path::new("")).join(path)
    }

    /// What an import names. bpftrace looks beside the script that is run, wherever the import is written.
    fn find_import(&self, import: &Import) -> Option<(PathBuf, Entry)> {
        let name = &import.path.node;
        let paths = [import.path.span.file, FileId::default()].map(|from| self.beside(from, name));
        paths.into_iter().find_map(|path| self.files.open(&path).map(|entry| (path, entry)))
    }

    /// The first of several paths where a header lies.
    fn header(&self, paths: impl Iterator<Item = PathBuf>) -> Result<Option<Header>, String> {
        for path in paths {
            let Some(entry) = self.files.open(&path) else { continue };
            let text = match entry.content {
                Content::Text(text) => text,
                Content::Folder(_) => continue,
                Content::Unreadable(reason) => return Err(format!("cannot read {}: {reason}", path.display())),
            };
            let mut state = self.state.borrow_mut();
            if let Some(known) = state.headers.get(&entry.identity) {
                return Ok(Some(known.clone()));
            }
            let file = state.sources.add(path.to_string_lossy(), text.as_str());
            let header = Header { file, text: Rc::from(text) };
            state.headers.insert(entry.identity, header.clone());
            return Ok(Some(header));
        }
        Ok(None)
    }
}

impl Headers for Opened<'_> {
    fn open(&self, path: &str, system: bool, from: FileId) -> Result<Option<Header>, String> {
        let own = (!system).then(|| self.beside(from, path));
        self.header(own.into_iter().chain(self.folders.iter().map(|folder| folder.join(path))))
    }
}

fn of_library(name: &str) -> bool {
    name.strip_prefix(LIBRARY).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Takes imports out of the body of a macro.
struct ImportsInside<'a> {
    opened: &'a Opened<'a>,
    imports: Vec<Import>,
}

impl walk::Visitor for ImportsInside<'_> {
    fn stmt(&mut self, stmt: &mut Stmt) {
        let StmtKind::Import(import) = &stmt.kind else { return };
        let name = import.path.node.as_str();
        let is_header = || ending(Path::new(name)) == "h" && self.opened.find_import(import).is_some();
        if of_library(name) || is_header() {
            self.imports.push(import.clone());
            stmt.kind = StmtKind::Block(Block { span: stmt.span, ..Block::default() });
        }
    }
}

/// Follows imports.
struct Loader<'a> {
    opened: &'a Opened<'a>,
    has_btf: &'a dyn Fn() -> bool,
    preamble: Preamble,
    /// Identities of what was imported.
    imported: HashSet<PathBuf>,
    items: Vec<Item>,
    diagnostics: Diagnostics,
}

impl Loader<'_> {
    fn error(&mut self, message: impl Into<String>, span: Span, facts: impl FnOnce(Diagnostic) -> Diagnostic) {
        self.diagnostics.push(facts(Diagnostic::error("import", message, span)));
    }

    /// Scripts and headers test this macro to leave out definitions that BTF brings.
    fn define_btf(&mut self, text: &str) {
        const NAME: &str = "BPFTRACE_HAVE_BTF";
        if text.contains(NAME) && (self.has_btf)() {
            self.preamble.define(NAME, "1");
        }
    }

    fn errors(&mut self, errors: Vec<SyntaxError>, by: Option<Span>) {
        let told = errors.into_iter().map(|error| match by {
            Some(by) => Diagnostic::from(error).also(by, "imported here"),
            None => Diagnostic::from(error),
        });
        self.diagnostics.extend(told);
    }

    fn parse(&mut self, file: FileId, text: &str, by: Option<Span>) -> Script {
        self.define_btf(text);
        let parsed = parse_among(file, text, &mut self.preamble, self.opened);
        self.errors(parsed.errors, by);
        parsed.script
    }

    fn parse_header(&mut self, header: &Header, by: Option<Span>) {
        self.define_btf(&header.text);
        let parsed = parse_header(header.file, &header.text, &mut self.preamble, self.opened);
        self.errors(parsed.errors, by);
        self.items.extend(parsed.items.into_iter().map(Item::C));
    }

    /// `--include`.
    fn include(&mut self, path: &Path) {
        let folders = self.opened.folders.iter().map(|folder| folder.join(path));
        match self.opened.header(std::iter::once(path.to_owned()).chain(folders)) {
            Ok(Some(header)) => self.parse_header(&header, None),
            Ok(None) => {
                // `linux/sched.h` and its like: the kernel's types are known without.
                let of_system = path.is_relative() && path.components().count() > 1;
                let severity = if of_system { Severity::Note } else { Severity::Error };
                let d = Diagnostic::new(severity, "include", format!("there is no header {}", path.display()), None);
                self.diagnostics.push(d.help("--include names a file, as seen from here or from a folder of -I"));
            }
            Err(message) => self.diagnostics.push(Diagnostic::error("include", message, None)),
        }
    }

    /// Takes over the items of a file, imports replaced.
    fn merge(&mut self, items: Vec<Item>, depth: usize) {
        let mut first_code: Option<Span> = None;
        for item in items {
            match item {
                Item::Import(import) => match first_code {
                    Some(before) => {
                        let d = Diagnostic::error("item-order", "imports must stand before the probes", import.span);
                        let d = d.also(before, "the first probe stands here");
                        self.diagnostics.push(d.help("move it to the top of the script"));
                    }
                    None => self.import(&import, depth),
                },
                Item::Config(config) if depth > 0 => {
                    self.error("a config block cannot be imported", config.span, |d| {
                        d.help("settings belong into the script that is run")
                    });
                }
                mut other => {
                    if let Item::Macro(def) = &mut other {
                        self.imports_of_macro(def, depth);
                    }
                    let code = match &other {
                        Item::Probe(probe) => Some(probe.span),
                        Item::Macro(def) => Some(def.span),
                        Item::Fn(def) => Some(def.span),
                        _ => None,
                    };
                    first_code = first_code.or(code);
                    self.items.push(other);
                }
            }
        }
    }

    /// A macro may import what its body needs: parts of the library, and headers. What is not found is left for the checker,
    /// which sees the bodies of the macros that are used.
    fn imports_of_macro(&mut self, def: &mut MacroDef, depth: usize) {
        let mut found = ImportsInside { opened: self.opened, imports: Vec::new() };
        walk::block(&mut found, &mut def.body);
        for import in found.imports {
            self.import(&import, depth);
        }
    }

    fn import(&mut self, import: &Import, depth: usize) {
        let (name, span) = (import.path.node.as_str(), import.path.span);
        if of_library(name) {
            let d = Diagnostic::new(Severity::Note, "import", format!("`{name}` is built in"), span);
            self.diagnostics.push(d);
            return;
        }
        if depth >= MAX_DEPTH {
            self.error(format!("imports are nested more than {MAX_DEPTH} levels deep"), span, |d| d);
            return;
        }
        if NATIVE.contains(&ending(Path::new(name))) {
            self.error(format!("importing `{name}` needs a C compiler, which tapline does without"), span, |d| {
                d.help("write its functions as `macro name(…) { … }` or `fn name(…) : type { … }`, its types in a `.h`")
            });
            return;
        }
        let Some((path, entry)) = self.opened.find_import(import) else {
            let path = self.opened.beside(span.file, name);
            let close = self.close(&path);
            self.error(format!("there is no file `{name}` to import"), span, |d| {
                let d = d.note(format!("looked for {}", path.display()));
                close.into_iter().fold(d, |d, close| d.help(format!("did you mean `{close}`?")))
            });
            return;
        };
        match &entry.content {
            Content::Folder(names) if !entry.writable_by_all => {
                let mut names: Vec<&String> =
                    names.iter().filter(|n| matches!(ending(Path::new(n)), "bt" | "h")).collect();
                // The order in which bpftrace takes them.
                names.sort_by(|a, b| b.cmp(a));
                for name in names {
                    let path = path.join(name);
                    if let Some(entry) = self.opened.files.open(&path) {
                        self.file(&path, entry, span, depth);
                    }
                }
            }
            _ => self.file(&path, entry, span, depth),
        }
    }

    /// Imports one file.
    fn file(&mut self, path: &Path, entry: Entry, span: Span, depth: usize) {
        let shown = path.display();
        if entry.writable_by_all {
            self.error(format!("{shown} is not imported: everybody may change it"), span, |d| {
                d.note("what it holds would run with the rights of root")
                    .help("take the right to write from others, for the file and for its folder (`chmod o-w`)")
            });
            return;
        }
        if !self.imported.insert(entry.identity) {
            return;
        }
        if self.imported.len() > MAX_FILES {
            self.error(format!("more than {MAX_FILES} files are imported"), span, |d| d);
            return;
        }
        let text = match (ending(path), entry.content) {
            ("bt" | "h", Content::Text(text)) => text,
            ("bt" | "h", Content::Unreadable(reason)) => {
                self.error(format!("cannot read {shown}: {reason}"), span, |d| d);
                return;
            }
            _ => {
                self.error(format!("{shown} is nothing that can be imported"), span, |d| {
                    d.help("an import names a script (`.bt`), a header (`.h`), or a folder of them")
                });
                return;
            }
        };
        if ending(path) == "h" {
            match self.opened.header(std::iter::once(path.to_owned())) {
                Ok(Some(header)) => self.parse_header(&header, Some(span)),
                Ok(None) => {}
                Err(message) => self.error(message, span, |d| d),
            }
            return;
        }
        let file = self.opened.add(&path.to_string_lossy(), &text);
        let script = self.parse(file, &text, Some(span));
        self.merge(script.items, depth + 1);
    }

    /// A name in the same folder that is written nearly the same.
    fn close(&self, path: &Path) -> Option<String> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let Content::Folder(names) = self.opened.files.open(folder)?.content else { return None };
        let wanted = path.file_name()?.to_str()?;
        let with_ending = format!("{wanted}.bt");
        if names.contains(&with_ending) {
            return Some(with_ending);
        }
        // The ending is not what makes two names alike.
        let (stem, end) = wanted.rsplit_once('.').unwrap_or((wanted, ""));
        let stems = names.iter().filter_map(|name| name.rsplit_once('.').filter(|(_, e)| *e == end));
        similar::closest(stem, stems.map(|(stem, _)| stem)).map(|stem| format!("{stem}.{end}"))
    }
}

fn ending(path: &Path) -> &str {
    path.extension().and_then(|end| end.to_str()).unwrap_or_default()
}
