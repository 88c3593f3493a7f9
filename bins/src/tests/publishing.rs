//! Tracks that are offered: the client takes what the server publishes.

use super::*;

const DRAFTS: [Draft; 2] = Draft::ALL;

fn offered(lines: &[String]) -> bool {
    lines.starts_with(&printed(at(0, 12), at(0, 14), true))
}

#[test]
fn a_client_takes_what_the_server_publishes() {
    for draft in DRAFTS {
        for track in ["date", ""] {
            let mut scene = Scene::direct(draft, Mode::Spg);
            let client = scene.client_for(track, Job::Publish, Filter::LargestObject, |_| {});
            scene.world.run_for(4 * SECOND);
            let lines = scene.lines(client);
            assert!(offered(&lines), "{draft:?}: {lines:?}");
            // The end of the server is the end of the track, and of the program.
            scene.world.shut_down(scene.date);
            let lines = scene.succeed(client);
            assert_eq!(lines.last().map(String::as_str), Some("onPublishDone"));
        }
    }
}

// Rules: B218
#[test]
fn a_client_does_not_take_other_tracks() {
    for draft in DRAFTS {
        let mut scene = Scene::direct(draft, Mode::Spg);
        let client = scene.client_for("time", Job::Publish, Filter::LargestObject, |wish| {
            wish.unsubscribe_after = Some(5 * SECOND);
        });
        assert_eq!(scene.succeed(client), [""; 0]);
    }
}

#[test]
fn a_client_that_wants_no_objects_yet_gets_none() {
    for draft in DRAFTS {
        let mut scene = Scene::direct(draft, Mode::Spg);
        let client = scene.client_for("date", Job::Publish, Filter::LargestObject, |wish| {
            wish.parameters.forward = Some(false);
            wish.unsubscribe_after = Some(5 * SECOND);
        });
        assert_eq!(scene.succeed(client), [""; 0]);
    }
}
