//! The one value that holds the state of memory management.
