//! The checker itself: each fault is found.

use std::path::Path;

use crate::agree::{self, Claims, Counts};
use crate::comments::{self, Claim};
use crate::table::Table;

fn claim(rule: &str, test: &str, only: Option<u8>) -> Claim {
    Claim {
        rule: rule.to_owned(),
        test: test.to_owned(),
        only,
    }
}

fn found(text: &str) -> comments::Found {
    comments::claims_of("a", text, |name| name == "run_by_a_list")
}

fn table(proof: &str) -> Table {
    table_of("yes", "yes", proof)
}

fn table_of(older: &str, newer: &str, proof: &str) -> Table {
    Table::parse(&format!(
        "text\n| B1 | {older} | {newer} | must | {proof} |\n"
    ))
    .unwrap()
}

fn claims(claims: &[Claim]) -> Claims {
    let mut all = Claims::default();
    all.add(claims.iter().cloned());
    all
}

/// The only fault of a table with one row.
fn fault(table: &Table, claims: &Claims) -> String {
    let faults = agree::faults(table, claims, false);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().next().unwrap()
}

#[test]
fn a_path_becomes_the_path_of_a_module() {
    let of = |path: &str| comments::module_of(Path::new(path));
    assert_eq!(of("core/src/relay/tests/mod.rs"), "core::relay::tests");
    assert_eq!(of("core/tests/main.rs"), "core::tests");
    assert_eq!(of("fuzz/src/lib.rs"), "fuzz");
    assert_eq!(
        of("runtime-smol/tests/signals.rs"),
        "runtime-smol::tests::signals"
    );
}

#[test]
fn a_comment_names_the_rules_of_the_function_below_it() {
    let text = "// Rules: B042, V17 (18)\n// Rules: B7 (16)\n/// Words.\n#[expect(\n    lint,\n    \
                reason = \"x\"\n)]\n#[test]\nfn one() {}\nfn two() {}\n";
    let found = found(text);
    assert_eq!(found.faults, Vec::<String>::new());
    let expected = [
        claim("B042", "a::one", None),
        claim("V17", "a::one", Some(18)),
        claim("B7", "a::one", Some(16)),
    ];
    assert_eq!(found.claims, expected);
}

#[test]
fn a_function_in_proptest_and_a_scenario_of_a_list_count() {
    let in_proptest = "proptest! {\n    // Rules: B1\n    #[test]\n    fn any(x in 0..9) {}\n}\n";
    let in_a_list = "// Rules: B2\npub(crate) fn run_by_a_list(actor: &mut Actor) {}\n";
    let found = found(&format!("{in_proptest}{in_a_list}"));
    assert_eq!(found.faults, Vec::<String>::new());
    assert_eq!(
        found.claims,
        [
            claim("B1", "a::any", None),
            claim("B2", "a::run_by_a_list", None)
        ]
    );
}

#[test]
fn a_comment_above_anything_else_is_a_fault() {
    for text in [
        "// Rules: B1\n\n#[test]\nfn one() {}\n",
        "// Rules: B1\nconst ONE: u8 = 1;\n",
        "// Rules: B1\nlet x = fn name() {};\n",
        "// Rules: B1\n",
    ] {
        let found = found(text);
        assert_eq!(found.claims, [], "{text}");
        assert!(
            found
                .faults
                .iter()
                .any(|fault| fault.contains("above no function")),
            "{found:?}"
        );
    }
}

#[test]
fn a_function_that_does_not_run_proves_nothing() {
    let helper = found("// Rules: B1\nfn helper() {}\n");
    assert!(
        helper
            .faults
            .iter()
            .any(|fault| fault.contains("nobody runs it")),
        "{helper:?}"
    );
    let ignored = found("// Rules: B1\n#[test]\n#[ignore = \"slow\"]\nfn one() {}\n");
    assert!(
        ignored.faults.iter().any(|fault| fault.contains("ignored")),
        "{ignored:?}"
    );
}

#[test]
fn a_list_that_is_not_of_rules_is_a_fault() {
    for list in ["C1", "B", "B1 (17)", "B1 B2", "", "B1,, B2"] {
        let found = found(&format!("// Rules: {list}\n#[test]\nfn one() {{}}\n"));
        assert_eq!(found.faults.len(), 1, "{list}: {found:?}");
    }
}

#[test]
fn a_table_that_cannot_be_read_is_refused() {
    let fault = |text: &str| Table::parse(text).unwrap_err();
    assert!(fault("| B1 | yes | yes | must |").contains("4 columns"));
    assert!(fault("| B1 | yes | yes | must | maybe |").contains("neither"));
    let row = "| B1 | yes | yes | must | open |\n";
    assert!(fault(&format!("{row}{row}")).contains("two rows"));
}

#[test]
fn a_table_is_written_as_it_was_read() {
    let text = "# Title\n\n| rule | 16 | 18 | what | tests |\n|---|---|---|---|---|\n\
                | B1 | yes | – | must | `a::one` (16), `a::two`; 18 none: left; right |\n\
                | V2 | – | S:PV | what | none: why |\n\nend\n";
    assert_eq!(Table::parse(text).unwrap().to_string(), text);
}

#[test]
fn what_is_proved_or_excused_has_no_fault() {
    let one = claims(&[claim("B1", "a::one", None)]);
    let older = claims(&[claim("B1", "a::one", Some(16))]);
    for (table, claims) in [
        (table("`a::one`"), &one),
        (table("none: an application's choice"), &Claims::default()),
        (table("`a::one` (16); 18 none: why"), &older),
        (table("`a::one` (16); none: why"), &older),
        (table_of("yes", "–", "`a::one` (16)"), &older),
        (table_of("–", "–", ""), &Claims::default()),
    ] {
        assert_eq!(
            agree::faults(&table, claims, false),
            Vec::<String>::new(),
            "{table}"
        );
    }
}

#[test]
fn a_draft_without_test_and_reason_is_a_fault() {
    let fault_18 = "B1: draft 18 has neither a test nor a reason";
    let older = claims(&[claim("B1", "a::one", Some(16))]);
    assert_eq!(fault(&table("`a::one` (16)"), &older), fault_18);
    assert_eq!(fault(&table("16 none: why"), &Claims::default()), fault_18);
    assert_eq!(
        fault(&table_of("–", "yes", ""), &Claims::default()),
        fault_18
    );
}

#[test]
fn an_open_row_is_a_fault_once_open_is_not_accepted() {
    let row = table("open");
    assert_eq!(
        agree::faults(&row, &Claims::default(), true),
        Vec::<String>::new()
    );
    assert_eq!(fault(&row, &Claims::default()), "B1 is still open");
}

#[test]
fn a_column_that_differs_from_the_comments_is_a_fault() {
    let one = claims(&[claim("B1", "a::one", None)]);
    for proof in [
        "`a::two`",
        "`a::one`, `a::two`",
        "`a::one` (16); 18 none: why",
    ] {
        let faults = agree::faults(&table(proof), &one, false);
        assert!(
            faults.iter().any(|fault| fault.contains("OXYMOQ_BLESS")),
            "{proof}: {faults:?}"
        );
    }
    let gone = agree::faults(&table("`a::one`; none: why"), &Claims::default(), false);
    assert!(
        gone.iter().any(|fault| fault.contains("OXYMOQ_BLESS")),
        "{gone:?}"
    );
}

#[test]
fn a_reason_beside_tests_of_the_same_draft_is_a_fault() {
    let one = claims(&[claim("B1", "a::one", None)]);
    assert!(fault(&table("`a::one`; 18 none: why"), &one).contains("needs no reason"));
    assert!(fault(&table("`a::one`; none: why"), &one).contains("needs no reason"));
}

#[test]
fn a_test_for_a_draft_without_the_rule_is_a_fault() {
    let both = claims(&[
        claim("B1", "a::one", Some(16)),
        claim("B1", "a::two", Some(18)),
    ]);
    let row = table_of("–", "yes", "`a::one` (16), `a::two` (18)");
    assert!(fault(&row, &both).contains("has no such rule"));
}

#[test]
fn a_rule_that_no_table_has_is_a_fault() {
    let mut all = claims(&[claim("B1", "a::one", None), claim("B9", "a::one", None)]);
    all.remove(&table("`a::one`"));
    assert_eq!(all.unknown(), ["a::one names B9, which no table has"]);
}

#[test]
fn blessing_writes_the_tests_and_keeps_the_reasons_that_are_needed() {
    let older = claims(&[claim("B1", "a::one", Some(16))]);
    for (before, after) in [
        ("open", "`a::one` (16); open"),
        (
            "`a::two`; 16 none: x; 18 none: why; so",
            "`a::one` (16); 18 none: why; so",
        ),
        ("none: why", "`a::one` (16); none: why"),
        ("none: why; open", "`a::one` (16); none: why"),
    ] {
        let mut row = table(before);
        agree::bless(&mut row, &older);
        assert_eq!(row.to_string(), table(after).to_string(), "{before}");
        assert_eq!(
            agree::faults(&row, &older, true),
            Vec::<String>::new(),
            "{before}"
        );
    }
}

#[test]
fn the_counts_are_by_draft() {
    let older = claims(&[claim("B1", "a::one", Some(16))]);
    let counts = agree::counts(&table("`a::one` (16); 18 none: why"), &older);
    let tested = Counts {
        rules: 1,
        tested: 1,
        ..Counts::default()
    };
    let excused = Counts {
        rules: 1,
        excused: 1,
        ..Counts::default()
    };
    assert_eq!(counts, [(16, tested), (18, excused)]);
    let open = Counts {
        rules: 1,
        open: 1,
        ..Counts::default()
    };
    let counts = agree::counts(&table_of("–", "yes", "open"), &Claims::default());
    assert_eq!(counts, [(16, Counts::default()), (18, open)]);
}
