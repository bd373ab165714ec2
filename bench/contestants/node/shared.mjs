/** What both functions need: the table's client, users, problems, and the log. */

import { DynamoDBClient, DynamoDBServiceException } from "@aws-sdk/client-dynamodb";

// Made once for each sandbox, in Lambda's INIT phase; its connections are kept from event to event.
export const dynamodb = new DynamoDBClient({
  maxAttempts: 3,
  requestHandler: {
    connectionTimeout: 1000,
    requestTimeout: 1200,
    // Without this, a request that takes too long is only warned of.
    throwOnRequestTimeout: true,
  },
});

export const { TABLE_NAME } = process.env;
/** The partition key of every user. */
export const KIND_USER = "user";

const KINDS = {
  "invalid-body": [400, "The body is not a user in JSON"],
  "invalid-idempotency-key": [400, "The Idempotency-Key is malformed"],
  "invalid-query": [400, "The query is invalid"],
  "username-taken": [409, "The username is taken"],
  "body-too-large": [413, "The body is too large"],
  "unsupported-media-type": [415, "The media type is not supported"],
  "invalid-user": [422, "The user is invalid"],
  "internal-error": [500, "The service failed"],
  unavailable: [503, "The service is busy or cannot reach its table"],
};
const HEADERS = {
  "unsupported-media-type": { accept: "application/json, application/*+json" },
  unavailable: { "retry-after": "1" },
};
const THROTTLES = new Set([
  "ProvisionedThroughputExceededException",
  "RequestLimitExceeded",
  "ThrottlingException",
]);
const BROKEN_CONNECTION = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENOTFOUND",
  "EPIPE",
  "ETIMEDOUT",
]);

/** A failed request: a problem document (RFC 9457). */
export class Problem extends Error {
  /** `cause` is for the log, not for the caller. */
  constructor(kind, detail, { errors, metrics = [], cause } = {}) {
    super(detail, { cause });
    this.kind = kind;
    this.errors = errors;
    this.metrics = metrics;
  }

  answer(requestId) {
    const [status, title] = KINDS[this.kind];
    const document = {
      type: `urn:problem-type:users:${this.kind}`,
      title,
      status,
      detail: this.message,
      instance: `urn:request:${requestId}`,
      errors: this.errors,
    };
    const headers = {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      ...HEADERS[this.kind],
    };
    const { metrics, cause } = this;
    return { status, headers, body: JSON.stringify(document), metrics, cause };
  }
}

/** Makes a Lambda handler of a function that answers an event or throws a problem. */
export function answers(route, answerTo) {
  let coldStart = true;
  return async (event, context) => {
    const started = performance.now();
    let answer;
    try {
      answer = await answerTo(event);
    } catch (error) {
      answer = toProblem(error).answer(context.awsRequestId);
    }
    log(route, event, context, answer, started, coldStart);
    coldStart = false;
    const headers = { "x-content-type-options": "nosniff", ...answer.headers };
    return { statusCode: answer.status, headers, body: answer.body };
  };
}

function toProblem(error) {
  if (error instanceof Problem) {
    return error;
  }
  let cause = `${error.name}: ${error.message}`;
  if (THROTTLES.has(error.name)) {
    return unavailable(cause, ["Throttles"]);
  }
  // The SDK's own errors are of many classes; what they have of an answer is its status.
  const isFaultOfTable = error.$metadata?.httpStatusCode >= 500;
  if (isFaultOfTable || error.name === "TimeoutError" || BROKEN_CONNECTION.has(error.code)) {
    return unavailable(cause);
  }
  if (!(error instanceof DynamoDBServiceException)) {
    // A message may quote the data it failed on; the log holds no username.
    const frames = error.stack?.split("\n").filter((line) => line.startsWith("    at "));
    cause = [error.name, ...(frames ?? [])].join("\n");
  }
  return new Problem(
    "internal-error",
    "Something failed on our side. If it happens again, report it with this problem's instance.",
    { metrics: ["InternalErrors"], cause },
  );
}

function unavailable(cause, metrics) {
  return new Problem(
    "unavailable",
    "Try again after the time in the Retry-After header. If this was a create, it may have taken " +
      "effect: repeat it with the same Idempotency-Key.",
    { metrics, cause },
  );
}

/** Writes the line of a request, with its metrics in CloudWatch's embedded metric format. */
function log(route, event, context, answer, started, coldStart) {
  const now = new Date();
  const metrics = coldStart ? [...answer.metrics, "ColdStarts"] : answer.metrics;
  const line = {
    timestamp: now.toISOString(),
    level: answer.status === 503 ? "WARN" : answer.status >= 500 ? "ERROR" : "INFO",
    message: "request",
    requestId: context.awsRequestId,
    traceId: process.env._X_AMZN_TRACE_ID,
    route,
    caller: caller(event),
    status: answer.status,
    coldStart,
    cause: answer.cause,
    FunctionName: context.functionName,
    FunctionVersion: context.functionVersion,
    Latency: performance.now() - started,
    ...Object.fromEntries(metrics.map((name) => [name, 1])),
    _aws: {
      Timestamp: now.getTime(),
      CloudWatchMetrics: [
        {
          Namespace: "UsersApi",
          Dimensions: [["FunctionName"]],
          Metrics: [
            { Name: "Latency", Unit: "Milliseconds" },
            ...metrics.map((name) => ({ Name: name, Unit: "Count" })),
          ],
        },
      ],
    },
  };
  // Not the console: Lambda's runtime puts a time and a level before each of its lines, and
  // CloudWatch would find no metrics in them.
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** The `sub` of the token that the API's authorizer checked, if there is an authorizer. */
export function caller(event) {
  return event.requestContext.authorizer?.jwt?.claims?.sub;
}

/** A user as the API shows it. The first 48 bits of the id are the time of creation. */
export function user(id, username) {
  const milliseconds = parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
  return { id, username, created_at: new Date(milliseconds).toISOString() };
}
