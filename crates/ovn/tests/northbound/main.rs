//! The northbound rows of generated clouds: by themselves, and in a real database server.

mod clouds;
mod converge;
mod incremental;
mod packet;
mod server;
mod sets;
mod world;
