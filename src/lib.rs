//! Tradewind: a durable task runtime where every task is a sandboxed WebAssembly component.
//!
//! In reading order, along the way of one task:

pub mod cli;
pub mod client;
pub mod config;
pub mod dag;
pub mod files;
pub mod metrics;
pub mod model;
pub mod server;
pub mod telemetry;

pub mod api;

pub mod coordinator;
pub mod engine;
pub mod evaluate;
pub mod store;

pub mod artifacts;
pub mod sandbox;
pub mod worker;
