//! Reads usernames from standard input, one per line. For each invalid username, prints the error code, the username
//! and the reason, separated by tabs. `tests/personal_names` runs this program on people's names.

use std::{
    error::Error,
    io::{self, Write as _},
};

use shared::user::Username;

fn main() -> Result<(), Box<dyn Error>> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lines() {
        let line = line?;
        if let Err(error) = Username::parse(&line) {
            writeln!(output, "{}\t{line}\t{error}", error.code())?;
        }
    }
    Ok(())
}
