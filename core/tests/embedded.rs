//! The program that embeds the core without a runtime does what it says.

#[expect(dead_code, reason = "its `main` prints, for people")]
#[path = "../examples/embed/main.rs"]
mod embed;

#[test]
fn a_relay_on_threads_and_pipes_delivers_every_object_once() {
    let mut lines = embed::broadcast().unwrap();
    // Groups have a stream each.
    lines.sort();
    let expected = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)].map(|(group, object)| {
        format!("group {group}, object {object}: 2000 bytes of '{group}.{object}'")
    });
    assert_eq!(lines, expected);
}
