//! Tradewind: a durable task runtime where every task is a sandboxed WebAssembly component.
//!
//! In reading order, along the way of one task:

pub mod engine;
pub mod model;
pub mod sandbox;
