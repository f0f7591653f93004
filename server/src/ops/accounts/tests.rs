use super::*;
use crate::testing::{Bench, bench, ip};

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

fn password(text: &str) -> NewPassword {
    NewPassword::try_from(text.to_owned()).unwrap()
}

const GOOD: &str = "correct horse";

async fn with_user(role: Role) -> Bench {
    let bench = bench().await;
    let added = bench.ops.add_user(name("ann"), role, password(GOOD));
    added.await.unwrap();
    bench
}

async fn log_in(bench: &Bench, last: u8, user: &str, typed: &str) -> Result<Cookie, LoginError> {
    bench.ops.log_in(ip(last).into(), user, typed).await
}

#[tokio::test]
async fn a_login_is_good_until_anything_of_it_changes() {
    let bench = with_user(Role::Operator).await;
    let ops = &bench.ops;
    let cookie = log_in(&bench, 1, "ann", GOOD).await.unwrap();
    let caller = ops.caller_by_cookie(&cookie).await.unwrap().unwrap();
    assert_eq!(
        (caller.who, caller.role),
        (Who::User(name("ann")), Role::Operator)
    );
    // The database decides, not what it said then.
    assert!(
        ops.change_user(name("ann"), Some(Role::Viewer), None)
            .await
            .unwrap()
    );
    let caller = ops.caller_by_cookie(&cookie).await.unwrap().unwrap();
    assert_eq!(caller.role, Role::Viewer);
    ops.change_user(name("ann"), None, Some(password("another horse")))
        .await
        .unwrap();
    assert_eq!(ops.caller_by_cookie(&cookie).await.unwrap(), None);
    assert!(matches!(
        log_in(&bench, 1, "ann", GOOD).await,
        Err(LoginError::Wrong)
    ));
    let cookie = log_in(&bench, 1, "ann", "another horse").await.unwrap();
    assert!(
        ops.remove_account(AccountKind::User, name("ann"))
            .await
            .unwrap()
    );
    assert_eq!(ops.caller_by_cookie(&cookie).await.unwrap(), None);
    // An account of the same name is another one.
    ops.add_user(name("ann"), Role::Admin, password("another horse"))
        .await
        .unwrap();
    assert_eq!(ops.caller_by_cookie(&cookie).await.unwrap(), None);
    let cookie = log_in(&bench, 1, "ann", "another horse").await.unwrap();
    ops.log_out(&cookie);
    assert_eq!(ops.caller_by_cookie(&cookie).await.unwrap(), None);
    let stored = ops.accounts().await.unwrap();
    assert!(stored[0].secret.0.starts_with("$argon2id$"), "{stored:?}");
}

#[tokio::test]
async fn wrong_ones_are_slowed_down_by_address_and_by_name() {
    let bench = with_user(Role::Viewer).await;
    for _ in 0..brake::FREE {
        let error = log_in(&bench, 1, "ann", "wrong").await.unwrap_err();
        assert!(matches!(error, LoginError::Wrong), "{error}");
    }
    // Also for the right one, and for other names from there, and for the name from elsewhere.
    for (last, user) in [(1, "ann"), (1, "bob"), (2, "ann")] {
        let error = log_in(&bench, last, user, GOOD).await.unwrap_err();
        assert!(
            matches!(error, LoginError::Wait(1..=2)),
            "{last} {user}: {error}"
        );
    }
    let error = log_in(&bench, 2, "bob", GOOD).await.unwrap_err();
    assert!(matches!(error, LoginError::Wrong), "{error}");
}

#[tokio::test]
async fn strangers_do_not_keep_an_account_from_its_owner() {
    let bench = with_user(Role::Viewer).await;
    log_in(&bench, 1, "ann", GOOD).await.unwrap();
    for last in 2..40 {
        drop(log_in(&bench, last, "ann", "wrong").await);
    }
    // From elsewhere she has to wait, too; from where she was before she does not.
    let error = log_in(&bench, 50, "ann", GOOD).await.unwrap_err();
    assert!(matches!(error, LoginError::Wait(_)), "{error}");
    log_in(&bench, 1, "ann", GOOD).await.unwrap();
    // There wrong ones are slowed down by the address.
    for _ in 0..brake::FREE {
        drop(log_in(&bench, 1, "ann", "wrong").await);
    }
    let error = log_in(&bench, 1, "ann", GOOD).await.unwrap_err();
    assert!(matches!(error, LoginError::Wait(_)), "{error}");
}

#[tokio::test]
async fn an_account_that_makes_no_sense_opens_nothing_and_locks_nobody_out() {
    let bench = with_user(Role::Viewer).await;
    let cookie = log_in(&bench, 1, "ann", GOOD).await.unwrap();
    let added = bench.ops.add_user(name("bob"), Role::Admin, password(GOOD));
    added.await.unwrap();
    let bob = log_in(&bench, 2, "bob", GOOD).await.unwrap();
    bench
        .sql("UPDATE fos_accounts SET role = 'emperor' WHERE name = 'bob'")
        .await;
    assert!(bench.ops.caller_by_cookie(&cookie).await.unwrap().is_some());
    assert_eq!(bench.ops.caller_by_cookie(&bob).await.unwrap(), None);
    assert!(log_in(&bench, 2, "bob", GOOD).await.is_err());
    log_in(&bench, 1, "ann", GOOD).await.unwrap();
    // It may have been a person's: nobody gets the first account again.
    bench
        .ops
        .remove_account(AccountKind::User, name("ann"))
        .await
        .unwrap();
    assert_eq!(bench.ops.begin_setup().await.unwrap(), None);
}

#[tokio::test]
async fn a_link_for_the_first_account_outlives_a_request_that_is_dropped() {
    let bench = bench().await;
    let code = bench.ops.begin_setup().await.unwrap().unwrap();
    for polls in 1..500 {
        let mut request = std::pin::pin!(bench.ops.set_up(&code, name("ann"), password(GOOD)));
        let mut outcome = None;
        for _ in 0..polls {
            outcome = match futures_util::poll!(request.as_mut()) {
                std::task::Poll::Ready(outcome) => Some(outcome),
                std::task::Poll::Pending => None,
            };
            if outcome.is_some() {
                break;
            }
            // Until the next poll is at another await.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match outcome {
            Some(cookie) => {
                cookie.unwrap();
                return;
            }
            // It was stored by a request that was dropped: then the link has done what it is for.
            None if bench.ops.accounts().await.unwrap().len() == 1 => return,
            None => assert!(bench.ops.is_setup(&code).await.unwrap(), "{polls}"),
        }
    }
    panic!("the first account is never made");
}

#[tokio::test]
async fn many_tries_at_the_same_moment_are_many() {
    let bench = with_user(Role::Viewer).await;
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let ops = Arc::clone(&bench.ops);
        tries.spawn(async move { ops.log_in(ip(1).into(), "ann", "wrong").await });
    }
    let outcomes = tries.join_all().await;
    let is_wait = |outcome: &Result<_, _>| matches!(outcome, Err(LoginError::Wait(_)));
    let waits = outcomes.iter().filter(|outcome| is_wait(outcome)).count();
    assert!(waits >= 14, "{waits}");
}

#[tokio::test]
async fn nobody_has_an_empty_or_endless_password() {
    let bench = with_user(Role::Viewer).await;
    let endless = "x".repeat(1 << 20);
    for (user, typed) in [("ann", ""), ("", ""), ("ann", endless.as_str())] {
        let error = log_in(&bench, 1, user, typed).await.unwrap_err();
        assert!(matches!(error, LoginError::Wrong), "{error}");
    }
    // What takes the place of an absent account's password is one that can be compared.
    assert!(argon2::password_hash::phc::PasswordHash::new(NOBODY).is_ok());
}

#[tokio::test]
async fn a_token_is_good_until_it_is_removed() {
    let bench = bench().await;
    let ops = &bench.ops;
    let token = ops.add_token(name("grafana"), Role::Viewer).await.unwrap();
    let caller = ops.caller_by_token(&token).await.unwrap().unwrap();
    assert_eq!(
        (caller.who, caller.role),
        (Who::Token(name("grafana")), Role::Viewer)
    );
    let cut = &token[..token.len() - 1];
    for wrong in ["", "fos_", cut, &format!("{token}0"), &token.to_uppercase()] {
        assert_eq!(ops.caller_by_token(wrong).await.unwrap(), None, "{wrong}");
    }
    let stored = ops.accounts().await.unwrap();
    assert!(!token.contains(&stored[0].secret.0));
    // A token is no password, and what is stored is no token.
    assert_eq!(
        ops.caller_by_token(&stored[0].secret.0).await.unwrap(),
        None
    );
    assert!(log_in(&bench, 1, "grafana", &token).await.is_err());
    ops.remove_account(AccountKind::Token, name("grafana"))
        .await
        .unwrap();
    assert_eq!(ops.caller_by_token(&token).await.unwrap(), None);
}

#[tokio::test]
async fn the_first_account_is_made_once() {
    let bench = bench().await;
    let ops = &bench.ops;
    let old = ops.begin_setup().await.unwrap().unwrap();
    let code = ops.begin_setup().await.unwrap().unwrap();
    for wrong in ["", &old, "x"] {
        assert!(!ops.is_setup(wrong).await.unwrap());
        let error = ops.set_up(wrong, name("eve"), password(GOOD)).await;
        assert!(matches!(error, Err(LoginError::NoSetup)), "{error:?}");
    }
    // Two at the same moment.
    let set_up = |user| ops.set_up(&code, name(user), password(GOOD));
    let (one, two) = tokio::join!(set_up("ann"), set_up("bob"));
    let cookie = match (one, two) {
        (Ok(cookie), Err(LoginError::NoSetup)) | (Err(LoginError::NoSetup), Ok(cookie)) => cookie,
        other => panic!("{other:?}"),
    };
    let caller = ops.caller_by_cookie(&cookie).await.unwrap().unwrap();
    assert_eq!(caller.role, Role::Admin);
    assert_eq!(ops.accounts().await.unwrap().len(), 1);
    assert_eq!(ops.begin_setup().await.unwrap(), None);
    assert!(!ops.is_setup(&code).await.unwrap());
}

#[test]
fn the_key_of_a_form_belongs_to_one_login() {
    let (one, two) = (Cookie("1".into()), Cookie("2".into()));
    assert!(one.is_form_key(&one.form_key()));
    for wrong in [two.form_key().as_str(), "", "1"] {
        assert!(!one.is_form_key(wrong));
    }
}
