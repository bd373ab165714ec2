//! Tests of the rules: `check` reports every rule that a history breaks.

use std::collections::BTreeSet;

use tests::histories::{
    history::{Create, History, List, Operation, Outcome, Request, ShownUser, StoredItem, Walk},
    names::Name,
    rules::{Rule, check},
};

#[test]
fn a_sound_history_breaks_no_rule() {
    let mut story = Story::default();
    story.create("ada", Some("one"), "Ada", Outcome::Unavailable);
    story.create("ada", Some("one"), "Ada", replayed(1, "Ada"));
    story.create("bea", Some("one"), "Ada", Outcome::Taken);
    story.create("ada", Some("two"), "Ada", Outcome::Taken);
    story.create("ada", None, "ada", Outcome::Taken);
    story.create("bea", None, "bea", created(2, "bea"));
    story.create("bea", None, "cleo", Outcome::Killed);
    story.create("bea", None, "cleo", Outcome::Taken);
    story.create("bea", None, "dora", Outcome::Killed);
    story.list("", 2, None, &[(1, "Ada"), (2, "bea")], true);
    story.list("", 2, Some("bea"), &[(3, "cleo")], false);
    story.list("be", 2, None, &[(2, "bea")], false);
    story.end(&[(1, "Ada"), (2, "bea"), (3, "cleo")]);
    story.walk("c", 1, &[(3, "cleo")]);
    assert_eq!(check(&story.history), []);
}

#[test]
fn a_failed_run_is_detected() {
    let mut story = Story::default();
    story.end(&[]);
    story.history.failure = Some("a 500".to_owned());
    story.assert_broken(&[Rule::Answer]);
}

#[test]
fn a_lost_user_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", created(1, "ada"));
    story.end(&[]);
    story.assert_broken(&[Rule::Kept]);
}

#[test]
fn a_user_that_was_seen_and_then_lost_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", Outcome::Killed);
    story.list("", 2, None, &[(1, "ada")], false);
    story.end(&[]);
    story.assert_broken(&[Rule::Kept]);
}

#[test]
fn a_conflict_over_a_username_that_nobody_has_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", Outcome::Killed);
    story.create("bea", None, "ada", Outcome::Taken);
    story.end(&[]);
    story.assert_broken(&[Rule::Kept]);
}

#[test]
fn two_users_with_the_same_username_are_detected() {
    for other in ["ada", "ADA"] {
        let mut story = Story::default();
        story.create("ada", None, "ada", created(1, "ada"));
        story.create("bea", None, other, created(2, other));
        story.end(&[(1, "ada")]);
        story.assert_broken(&[Rule::OneOwner]);
    }
}

#[test]
fn two_requests_that_created_the_same_user_are_detected() {
    for (caller, key) in [("bea", Some("one")), ("ada", Some("two")), ("ada", None)] {
        let mut story = Story::default();
        story.create("ada", Some("one"), "ada", created(1, "ada"));
        story.create(caller, key, "ada", created(1, "ada"));
        story.end(&[(1, "ada")]);
        story.assert_broken(&[Rule::OneOwner]);
    }
}

#[test]
fn a_user_that_changed_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", created(1, "ada"));
    story.end(&[(1, "ada")]);
    for walk in &mut story.history.walks {
        walk.users[0].created_at = "2026-03-01T12:00:00.999Z".to_owned();
    }
    story.assert_broken(&[Rule::OneOwner]);
}

#[test]
fn a_user_with_two_usernames_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", created(1, "ada"));
    story.create("ada", None, "bea", created(1, "bea"));
    story.end(&[(1, "ada"), (1, "bea")]);
    story.assert_broken(&[Rule::OneOwner]);
}

#[test]
fn a_username_that_is_listed_twice_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", Outcome::Killed);
    story.create("bea", None, "ADA", Outcome::Killed);
    story.end(&[(1, "ada"), (2, "ADA")]);
    story.assert_broken(&[Rule::OneOwner, Rule::Quiet]);
}

#[test]
fn a_user_that_nobody_asked_for_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", created(1, "ada"));
    story.end(&[(1, "ada"), (2, "bea")]);
    story.assert_broken(&[Rule::Asked, Rule::Quiet]);
}

#[test]
fn a_user_in_a_display_form_that_nobody_requested_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", Outcome::Killed);
    // The only request for "ADA" got a 409, so it can't have created the user "ADA".
    story.create("bea", None, "ADA", Outcome::Taken);
    story.end(&[(1, "ADA")]);
    story.assert_broken(&[Rule::Asked, Rule::Conflict]);
}

#[test]
fn an_answer_in_a_display_form_other_than_the_requested_one_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", Outcome::Killed);
    story.create("ada", None, "ADA", created(1, "ada"));
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Asked]);
}

#[test]
fn a_user_that_was_seen_before_anybody_asked_for_it_is_detected() {
    let mut story = Story::default();
    story.list("", 2, None, &[(1, "ada")], false);
    story.create("ada", None, "ada", created(1, "ada"));
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Asked]);
}

#[test]
fn a_replay_without_an_earlier_matching_request_is_detected() {
    for (caller, key, display) in [
        ("bea", Some("one"), "ada"),
        ("ada", Some("two"), "ada"),
        ("ada", None, "ada"),
        ("ada", Some("one"), "ADA"),
    ] {
        let mut story = Story::default();
        story.create(caller, key, display, Outcome::Unavailable);
        story.create("ada", Some("one"), "ada", replayed(1, "ada"));
        story.end(&[(1, "ada")]);
        assert!(story.broken().contains(&Rule::Replay), "{caller} {key:?}");
    }
}

#[test]
fn a_replay_without_a_key_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", Outcome::Unavailable);
    story.create("ada", None, "ada", replayed(1, "ada"));
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Replay]);
}

#[test]
fn a_request_that_created_its_user_twice_is_detected() {
    let mut story = Story::default();
    story.create("ada", Some("one"), "ada", created(1, "ada"));
    story.create("ada", Some("one"), "ada", created(1, "ada"));
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Replay]);
}

#[test]
fn a_replay_with_another_user_is_detected() {
    let mut story = Story::default();
    story.create("ada", Some("one"), "ada", created(1, "ada"));
    story.create("ada", Some("one"), "ada", replayed(2, "ada"));
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::OneOwner, Rule::Replay]);
}

#[test]
fn a_conflict_of_a_request_with_itself_is_detected() {
    let mut story = Story::default();
    story.create("ada", Some("one"), "ada", created(1, "ada"));
    story.create("ada", Some("one"), "ada", Outcome::Taken);
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Conflict]);

    // Only one request asks for "ada". The two creates for "bea" are attempts of one request. So no
    // second request can have taken either username before the 409.
    let mut story = Story::default();
    story.create("ada", None, "ada", Outcome::Taken);
    story.create("ada", Some("one"), "bea", Outcome::Killed);
    story.create("ada", Some("one"), "bea", Outcome::Taken);
    story.end(&[(2, "bea")]);
    story.assert_broken(&[Rule::Conflict, Rule::Kept]);
}

#[test]
fn a_conflict_before_the_owner_asked_is_detected() {
    let mut story = Story::default();
    story.create("bea", None, "ada", Outcome::Taken);
    story.create("ada", None, "ada", created(1, "ada"));
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Conflict]);
}

#[test]
fn a_conflict_with_an_owner_who_asked_at_the_same_time_is_allowed() {
    let mut story = Story::default();
    story.create("bea", None, "ada", Outcome::Taken);
    story.create("ada", None, "ada", created(1, "ada"));
    story.history.operations[0].end = 100;
    story.end(&[(1, "ada")]);
    assert_eq!(check(&story.history), []);
}

#[test]
fn a_conflict_with_a_request_that_created_no_user_is_detected() {
    let mut story = Story::default();
    // The callers bea, cleo and ada all ask for the username "ada". The 201 proves that the caller
    // ada created the user, and ada asked only after cleo got the 409. So bea's request created no
    // user, and the username was still free when cleo got the 409.
    story.create("bea", None, "ada", Outcome::Killed);
    story.create("cleo", None, "ada", Outcome::Taken);
    story.create("ada", None, "ada", created(1, "ada"));
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Conflict]);
}

#[test]
fn a_creation_of_a_user_that_was_seen_before_is_detected() {
    let mut story = Story::default();
    story.create("ada", Some("one"), "ada", Outcome::Killed);
    story.list("", 2, None, &[(1, "ada")], false);
    // The user existed before this 201, which should be marked as a replay.
    story.create("ada", Some("one"), "ada", created(1, "ada"));
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Creator]);
}

#[test]
fn a_replay_of_a_request_sent_after_its_user_was_seen_is_detected() {
    let mut story = Story::default();
    story.create("bea", None, "ada", Outcome::Killed);
    story.list("", 2, None, &[(1, "ada")], false);
    story.create("ada", Some("one"), "ada", Outcome::Killed);
    story.create("ada", Some("one"), "ada", replayed(1, "ada"));
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Creator]);
}

#[test]
fn two_requests_that_conflict_only_with_each_other_are_detected() {
    let mut story = Story::default();
    for (caller, outcome) in [
        ("ada", Outcome::Killed),
        ("bea", Outcome::Killed),
        ("ada", Outcome::Taken),
        ("bea", Outcome::Taken),
    ] {
        story.create(caller, Some("one"), "ada", outcome);
    }
    story.end(&[(1, "ada")]);
    story.assert_broken(&[Rule::Creator]);
}

#[test]
fn an_unsorted_page_is_detected() {
    let mut story = Story::with_users();
    story.list(
        "",
        9,
        None,
        &[(1, "ada"), (3, "cleo"), (2, "bea"), (4, "dora")],
        false,
    );
    story.assert_broken(&[Rule::Page]);
}

#[test]
fn a_page_with_a_duplicate_is_detected() {
    let mut story = Story::with_users();
    story.list("b", 9, None, &[(2, "bea"), (2, "bea")], false);
    story.assert_broken(&[Rule::Page, Rule::Walk]);
}

#[test]
fn a_page_longer_than_its_limit_is_detected() {
    let mut story = Story::with_users();
    story.list("", 1, None, &[(1, "ada"), (2, "bea")], true);
    story.assert_broken(&[Rule::Page]);
}

#[test]
fn a_page_with_a_user_outside_its_prefix_is_detected() {
    let mut story = Story::with_users();
    story.list("be", 2, None, &[(2, "bea"), (3, "cleo")], false);
    story.assert_broken(&[Rule::Page]);
}

#[test]
fn a_page_with_a_user_that_is_not_after_its_cursor_is_detected() {
    let pages: [&[_]; 2] = [&[(2, "bea"), (3, "cleo")], &[(1, "ada"), (3, "cleo")]];
    for page in pages {
        let mut story = Story::with_users();
        story.list("", 2, Some("bea"), page, true);
        story.assert_broken(&[Rule::Page]);
    }
}

#[test]
fn a_page_that_is_not_full_but_links_to_a_next_page_is_detected() {
    let pages: [&[_]; 2] = [&[(1, "ada")], &[]];
    for page in pages {
        let mut story = Story::with_users();
        story.list("", 2, None, page, true);
        story.assert_broken(&[Rule::Page]);
    }
}

#[test]
fn a_page_that_lacks_a_user_is_detected() {
    for (limit, after, users, has_next) in [
        // A user in the middle is missing.
        (3, None, &[(1, "ada"), (3, "cleo"), (4, "dora")][..], false),
        // A user in the middle is missing, and the page links to a next page.
        (2, None, &[(1, "ada"), (3, "cleo")], true),
        // The first user after the cursor is missing.
        (3, Some("ada"), &[(3, "cleo"), (4, "dora")], false),
        // The last user is missing.
        (3, None, &[(1, "ada"), (2, "bea"), (3, "cleo")], false),
        // All users are missing.
        (3, None, &[], false),
    ] {
        let mut story = Story::with_users();
        story.list("", limit, after, users, has_next);
        story.assert_broken(&[Rule::Complete]);
    }
}

#[test]
fn a_page_that_lacks_a_user_known_from_an_earlier_page_or_conflict_is_detected() {
    for is_seen in [true, false] {
        let mut story = Story::default();
        story.create("ada", None, "ada", Outcome::Killed);
        if is_seen {
            story.list("", 2, None, &[(1, "ada")], false);
        } else {
            story.create("bea", None, "ada", Outcome::Taken);
        }
        story.list("", 2, None, &[], false);
        story.end(&[(1, "ada")]);
        story.assert_broken(&[Rule::Complete]);
    }
}

#[test]
fn a_page_may_lack_a_user_that_is_created_meanwhile() {
    let mut story = Story::default();
    story.create("ada", None, "ada", created(1, "ada"));
    story.list("", 2, None, &[], false);
    story.history.operations[0].end = 100;
    story.end(&[(1, "ada")]);
    assert_eq!(check(&story.history), []);
}

#[test]
fn a_page_may_lack_a_user_that_is_younger_than_the_maximum_age() {
    for (old, broken) in [(1_999_990, &[][..]), (2_000_010, &[Rule::Complete])] {
        let mut story = Story::default();
        story.history.max_age = 2;
        story.create("ada", None, "ada", created(1, "ada"));
        story.list("", 2, None, &[], false);
        let page = &mut story.history.operations[1];
        (page.start, page.end) = (old, old + 1);
        story.end(&[(1, "ada")]);
        story.assert_broken(broken);
    }
}

#[test]
fn a_walk_that_shows_a_user_twice_is_detected() {
    let mut story = Story::with_users();
    story.list("", 2, None, &[(1, "ada"), (2, "bea")], true);
    story.list("", 2, None, &[(1, "ada"), (2, "bea")], true);
    for operation in &mut story.history.operations {
        if let Request::List(list) = &mut operation.request {
            list.walk = 0;
        }
    }
    story.assert_broken(&[Rule::Walk]);
}

#[test]
fn a_history_without_a_final_walk_is_detected() {
    Story::default().assert_broken(&[Rule::Quiet]);
}

#[test]
fn final_walks_that_disagree_are_detected() {
    let walks: [(_, &[_]); 4] = [
        ("", &[(1, "ada"), (2, "bea"), (3, "cleo")]),
        ("", &[(1, "ada"), (3, "cleo"), (2, "bea"), (4, "dora")]),
        ("be", &[]),
        ("be", &[(2, "bea"), (3, "cleo")]),
    ];
    for (prefix, users) in walks {
        let mut story = Story::with_users();
        story.walk(prefix, 2, users);
        story.assert_broken(&[Rule::Quiet]);
    }
}

#[test]
fn an_unsorted_final_list_is_detected() {
    let mut story = Story::default();
    story.create("ada", None, "ada", created(1, "ada"));
    story.create("ada", None, "bea", created(2, "bea"));
    story.end(&[(2, "bea"), (1, "ada")]);
    story.assert_broken(&[Rule::Quiet]);
}

#[test]
fn a_stray_or_malformed_item_in_the_table_is_detected() {
    let hidden = item(9, "zoe");
    let mut of_another_kind = item(1, "ada");
    of_another_kind.insert("kind".to_owned(), "warm-up".to_owned());
    let mut of_another_key = item(1, "ada");
    of_another_key.insert("username_key".to_owned(), "Ada".to_owned());
    let mut without_a_user = item(1, "ada");
    without_a_user.retain(|name, _| name == "kind" || name == "username_key");
    let mut with_more = item(1, "ada");
    with_more.insert("password".to_owned(), "secret".to_owned());
    for stray in [
        hidden,
        item(1, "ada"),
        of_another_kind,
        of_another_key,
        without_a_user,
        with_more,
    ] {
        let mut story = Story::with_users();
        story.history.items.push(stray);
        story.assert_broken(&[Rule::Table]);
    }
}

#[test]
fn a_listed_user_that_is_not_in_the_table_is_detected() {
    let mut story = Story::with_users();
    story.history.items.pop();
    story.assert_broken(&[Rule::Table]);
}

#[test]
fn a_history_is_the_same_after_being_written_and_read_as_json() {
    let mut story = Story::with_users();
    story.create("ada", Some("one"), "Ada", Outcome::Killed);
    story.list("", 2, None, &[(1, "ada"), (2, "bea")], true);
    let json = serde_json::to_string(&story.history).unwrap();
    let read: History = serde_json::from_str(&json).unwrap();
    assert_eq!(read, story.history);
}

/// A history in which each operation begins after the previous operation has ended.
#[derive(Default)]
struct Story {
    history: History,
}

impl Story {
    /// Makes a history with four users that all exist at the end.
    fn with_users() -> Self {
        let users = [(1, "ada"), (2, "bea"), (3, "cleo"), (4, "dora")];
        let mut story = Self::default();
        for (id, username) in users {
            story.create("ada", None, username, created(id, username));
        }
        story.end(&users);
        story
    }

    fn create(&mut self, caller: &str, key: Option<&str>, display: &str, outcome: Outcome) {
        let create = Create {
            caller: Some(caller.to_owned()),
            key: key.map(ToOwned::to_owned),
            name: Name {
                spelling: display.to_owned(),
                display: display.to_owned(),
                key: display.to_lowercase(),
            },
        };
        self.add(Request::Create(create), outcome);
    }

    /// Adds a page that is the only page of its walk.
    fn list(
        &mut self,
        prefix: &str,
        limit: usize,
        after: Option<&str>,
        users: &[(u64, &str)],
        has_next: bool,
    ) {
        let list = List {
            query: String::new(),
            prefix: prefix.to_owned(),
            limit,
            after: after.map(ToOwned::to_owned),
            walk: self.history.operations.len(),
        };
        let users = self::users(users);
        self.add(Request::List(list), Outcome::Page { users, has_next });
    }

    fn add(&mut self, request: Request, outcome: Outcome) {
        let start = 2 * self.history.operations.len() as u64;
        self.history.operations.push(Operation {
            client: 0,
            start,
            end: start + 1,
            request,
            outcome,
        });
    }

    fn end(&mut self, users: &[(u64, &str)]) {
        self.walk("", 1000, users);
        let items = users.iter().map(|(id, username)| item(*id, username));
        self.history.items = items.collect();
    }

    fn walk(&mut self, prefix: &str, limit: usize, users: &[(u64, &str)]) {
        self.history.walks.push(Walk {
            prefix: prefix.to_owned(),
            limit,
            users: self::users(users),
        });
    }

    fn broken(&self) -> BTreeSet<Rule> {
        check(&self.history).iter().map(|it| it.rule).collect()
    }

    #[track_caller]
    fn assert_broken(&self, rules: &[Rule]) {
        let broken = self.broken();
        assert_eq!(
            broken,
            rules.iter().copied().collect(),
            "{:#?}",
            check(&self.history)
        );
    }
}

fn user(id: u64, username: &str) -> ShownUser {
    ShownUser {
        id: format!("0000000{id}-0000-7000-8000-000000000000"),
        username: username.to_owned(),
        created_at: format!("2026-03-01T12:00:0{id}.000Z"),
    }
}

fn item(id: u64, username: &str) -> StoredItem {
    let user = user(id, username);
    StoredItem::from([
        ("kind".to_owned(), "user".to_owned()),
        ("username_key".to_owned(), username.to_lowercase()),
        ("username".to_owned(), user.username),
        ("id".to_owned(), user.id),
    ])
}

fn users(users: &[(u64, &str)]) -> Vec<ShownUser> {
    users
        .iter()
        .map(|(id, username)| user(*id, username))
        .collect()
}

fn created(id: u64, username: &str) -> Outcome {
    Outcome::Created {
        user: user(id, username),
        replayed: false,
    }
}

fn replayed(id: u64, username: &str) -> Outcome {
    Outcome::Created {
        user: user(id, username),
        replayed: true,
    }
}
