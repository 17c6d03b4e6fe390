//! Generates the parser from `src/grammar.lalrpop`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=src/grammar.lalrpop");
    let out = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    lalrpop::Configuration::new().emit_rerun_directives(false).set_in_dir("src").set_out_dir(out).process()?;
    Ok(())
}
