//! Inserts a user with a single `PutItem`.

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use shared::{
    item::{self, StoredUser},
    table::{Table, TableError},
    user::User,
};

/// The result of inserting a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// The user is now in the table.
    Created,
    /// An earlier attempt of the same client request created this user.
    Replayed(User),
    /// The username already belongs to an existing user.
    Taken,
}

/// Inserts a user unless the username is taken, in one round trip.
///
/// DynamoDB writes the user only if the table has no item with the user's key. So no read is needed before the write,
/// and only one of several requests for a username can succeed. If this condition fails, DynamoDB returns the existing
/// item, and [`judge`] derives the result from it.
///
/// # Errors
/// Fails if DynamoDB refuses the write for a reason other than its condition, if the outcome is unknown, or if the
/// existing item can't be read as a user.
pub async fn insert(table: &Table, new: &StoredUser) -> Result<Insertion, TableError> {
    let result = table
        .client()
        .put_item()
        .table_name(table.name())
        .set_item(Some(item::to_item(new)))
        .condition_expression("attribute_not_exists(username_key)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await;
    let error = match result {
        Ok(answer) => {
            TableError::check_origin(&answer)?;
            return Ok(Insertion::Created);
        }
        Err(error) => error,
    };
    let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error()
    else {
        return Err(error.into());
    };
    let found = failed.item().cloned().unwrap_or_default();
    Ok(judge(new, item::from_item(found)?))
}

/// Compares the new user with the existing user to decide what the failed condition means.
///
/// In two cases, the existing user comes from the same client request as the new user:
///
/// * Both users have the same id. DynamoDB wrote the user, but DynamoDB's response was lost, so the SDK sent the write
///   again.
/// * Both users have the same fingerprint and the same username. The client did not get the function's response, so it
///   sent the request again.
#[must_use]
pub fn judge(new: &StoredUser, found: StoredUser) -> Insertion {
    if found.user.id == new.user.id {
        Insertion::Created
    } else if new.fingerprint.is_some()
        && found.fingerprint == new.fingerprint
        && found.user.username == new.user.username
    {
        Insertion::Replayed(found.user)
    } else {
        Insertion::Taken
    }
}

/// Opens the connection and initializes the lazy parts of the SDK before the first request.
///
/// The warm-up sends a `PutItem`, because the function's role allows no other operation on the table. The condition of
/// this `PutItem` is always false, so it writes nothing.
pub async fn warm_up(table: &Table) {
    let warm_up = || AttributeValue::S(item::KIND_WARM_UP.to_owned());
    let request = table
        .client()
        .put_item()
        .table_name(table.name())
        .item(item::KIND, warm_up())
        .item(item::USERNAME_KEY, warm_up())
        .condition_expression("attribute_exists(kind) AND attribute_not_exists(kind)")
        .send();
    let request = async {
        match request.await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(TableError::from(error)),
            },
        }
    };
    shared::table::warm_up(request).await;
}
