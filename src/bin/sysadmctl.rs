//! The command-line client.
fn main() -> std::process::ExitCode {
    sysadmd::cli::main()
}
