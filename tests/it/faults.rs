//! A bad plugin takes nothing down: while it does its worst, another plugin answers every call,
//! subscribers hear every event, its own callers are told in time, and everybody can see what has
//! become of it.

mod bystanders;
mod callers;
mod control;
mod directory;
mod kept;
mod quarantine;
mod scene;
