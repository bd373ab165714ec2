//! The one `PutItem` of this function.

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use shared::{
    item::{self, StoredUser},
    table::{Table, TableError},
    user::User,
};

/// What became of a new user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// The user is in the table now.
    Created,
    /// The same request created this user before.
    Replayed(User),
    /// Somebody else has the username.
    Taken,
}

/// Inserts a user unless the username is taken, in one round trip.
///
/// The condition decides, not a read before the write: of any number of requests for one username
/// exactly one can pass it. When it fails, DynamoDB sends the item that is there, and [`judge`] says
/// what that means.
///
/// # Errors
/// The table did not do it, or did not say whether it did.
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

/// Decides what a failed condition means for a new user, from the user that is there.
///
/// In two cases this very request has created the user before:
///
/// * The user has our id. The table did the write, its answer was lost on the way, and the SDK sent
///   the request again.
/// * The user has our fingerprint and our username. The client lost our answer and repeated its
///   request.
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

/// Makes the connection and the SDK's lazy parts ready before the first request, with the one
/// operation that the function's role allows: a write whose condition no item can meet.
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
