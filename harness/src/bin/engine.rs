//! Runs the embedded DynamoDB as a process that a test can kill. The command `engine FILE` prints
//! the engine's URL. The engine stores the table of `template.yaml` in FILE.

use std::{env, io, path::PathBuf};

use harness::{
    service::{ACCESS_KEY_ID, TABLE_NAME},
    workspace,
};
use local::engine::Engine;

fn main() {
    let file = env::args_os().nth(1).map(PathBuf::from);
    let file = file.expect("a file is named");
    let engine = Engine::on_file(&file, ACCESS_KEY_ID).expect("the engine starts");
    engine
        .create_table_if_missing(&workspace::read("template.yaml"), TABLE_NAME)
        .expect("the engine makes the table");
    println!("{}", engine.url());
    // Waits until standard input closes. It closes when the process that started the engine ends.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
}
