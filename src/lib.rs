//! Tradewind: a durable task runtime where every task is a sandboxed WebAssembly component.
//!
//! In reading order, along the way of one task:

pub mod cli;
pub mod client;
pub mod config;
pub mod model;
pub mod sandbox;
pub mod server;
pub mod telemetry;
