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
    /// Somebody else has the username.
    Taken,
}

/// Inserts a user unless the username is taken, in one round trip.
///
/// The write is conditional, so no read is needed before it, and only one of many requests for a username can succeed.
/// When the condition fails, DynamoDB returns the existing item, and [`judge`] decides what the failure means.
///
/// # Errors
/// The write failed, or its outcome is unknown.
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

/// Decides what a failed condition means, by comparing the new user with the existing one.
///
/// In two cases the same request created the existing user:
///
/// * The ids are equal. DynamoDB wrote the user, but its response was lost, so the SDK retried.
/// * The fingerprints and the usernames are equal. The client did not get our response, so it retried.
#[must_use]
pub fn judge(new: &StoredUser, found: StoredUser) -> Insertion {
    if found.user.id == new.user.id {
        Insertion::Created
    } else if new.request.is_some()
        && found.request == new.request
        && found.user.username == new.user.username
    {
        Insertion::Replayed(found.user)
    } else {
        Insertion::Taken
    }
}

/// Opens the connection and initializes the lazy parts of the SDK before the first request.
///
/// It sends a `PutItem` whose condition is always false. The function's role allows no other operation.
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
