/** The Lambda function behind `POST /api/users`. */

import { ConditionalCheckFailedException, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { v7 as uuidv7 } from "uuid";

import { answers, dynamodb, KIND_USER, Problem, TABLE_NAME, user } from "./shared.mjs";
import { parse } from "./username.mjs";

export const handler = answers("POST /api/users", async (event) => {
  const username = parseBody(event);
  const id = uuidv7();
  const put = new PutItemCommand({
    TableName: TABLE_NAME,
    Item: {
      kind: { S: KIND_USER },
      username_key: { S: username.key },
      username: { S: username.display },
      id: { S: id },
    },
    ConditionExpression: "attribute_not_exists(username_key)",
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  });
  try {
    await dynamodb.send(put);
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) {
      throw error;
    }
    // The stored item has our id if an earlier attempt of the SDK wrote it, and only the response
    // was lost.
    if (error.Item.id.S !== id) {
      throw new Problem(409, "The username is taken", { metrics: ["Conflicts"] });
    }
  }
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  const body = JSON.stringify(user(id, username.display));
  return { status: 201, headers, body, metrics: ["UsersCreated"] };
});

function parseBody(event) {
  const body = Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8");
  let username;
  try {
    ({ username } = JSON.parse(body));
  } catch {
    throw new Problem(400, "The body is not a user in JSON");
  }
  if (typeof username !== "string") {
    throw new Problem(422, "The field username is missing or not a string");
  }
  return parse(username);
}
