//! Tests of the rules of this file's parent.
