//! The command `tapline`.

fn main() {
    std::process::exit(tapline::cli::main(std::env::args_os().collect()));
}
