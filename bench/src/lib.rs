//! Measures what a call of this project's functions costs, compared to an empty function and to
//! common alternatives. `docs/performance.md` has the method and the results.

pub mod canned_table;
pub mod compare;
pub mod contestants;
pub mod files;
pub mod load;
pub mod measure;
pub mod quota;
pub mod report;
