//! The command-line client.
fn main() -> std::process::ExitCode {
    sysadmd::names::look_up_in_files();
    sysadmd::cli::main()
}
