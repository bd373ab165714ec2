//! Reads a username a line from standard input and prints each that is refused: the stable code, the
//! username and the reason, with tabs between them. `tests/personal_names` tries names of people.

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
