//! The documents say what was measured.

use tests::workspace::read;

#[test]
fn the_documents_show_the_results_of_the_benchmark() {
    let results = read("benchmarks/results/results.md");
    assert_eq!(shown("docs/performance.md"), results);
    let blocks: Vec<&str> = results.trim_end().split("\n\n").collect();
    let [first, .., last] = &blocks[..] else {
        panic!("tables and a date: {results}");
    };
    assert_eq!(shown("README.md"), format!("{first}\n\n{last}\n"));
}

/// What a document has of the results.
fn shown(document: &str) -> String {
    let text = read(document);
    let (_, results) = text
        .split_once("<!-- results of make bench -->\n")
        .expect("results begin");
    let (results, _) = results
        .split_once("<!-- end of the results -->\n")
        .expect("results end");
    results.to_owned()
}
