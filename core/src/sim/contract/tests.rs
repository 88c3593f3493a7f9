//! The list in virtual time.

use std::time::Duration;

use crate::sim::World;
use crate::transport::Exit;

use super::{Bench, Differences, Seat};

/// Longer than any case takes.
const HANG: Duration = Duration::from_secs(60);

struct Simulated;

impl Bench for Simulated {
    fn run(&mut self, server: &Seat, client: &Seat) -> (Exit, Exit) {
        let mut world = World::new(1);
        let transport = server.settings.transport.clone();
        let serving = world.add("server", server.actor.clone(), transport);
        let settings = server.settings.server.as_ref();
        let alpns = settings.map(|settings| settings.alpns.clone());
        world.listen(serving, "server", 4433, alpns.unwrap_or_default());
        client.actor.meet("server", 4433);
        let transport = client.settings.transport.clone();
        let calling = world.add("client", client.actor.clone(), transport);
        let asked = world.run_until(
            |world| world.exit(calling).is_some() || server.actor.is_to_end(),
            HANG,
        );
        asked.unwrap();
        if world.exit(serving).is_none() {
            world.shut_down(serving);
        }
        let over = |world: &World| world.exit(serving).is_some() && world.exit(calling).is_some();
        world.run_until(over, HANG).unwrap();
        let exit = |node| world.exit(node).cloned().unwrap();
        (exit(serving), exit(calling))
    }

    fn differences(&self) -> Differences {
        Differences::default()
    }
}

crate::contract_tests! { simulated: Simulated }
