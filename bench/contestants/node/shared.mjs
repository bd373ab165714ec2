/** The code that both functions use: for users, problems, the log, and the client of the table. */

import { DynamoDBClient } from "@aws-sdk/client-dynamodb";

// Each sandbox creates this client once, in Lambda's INIT phase. It keeps connections open.
export const dynamodb = new DynamoDBClient({
  maxAttempts: 3,
  requestHandler: {
    connectionTimeout: 1000,
    requestTimeout: 1200,
    // Without this option, the SDK only logs a warning after `requestTimeout`, and the request
    // goes on.
    throwOnRequestTimeout: true,
  },
});

export const { TABLE_NAME } = process.env;
/** The partition key of every user. */
export const KIND_USER = "user";

/** The error for a failed request. The caller gets it as a problem document (RFC 9457). */
export class Problem extends Error {
  /** `cause` is written to the log, but the response does not contain it. */
  constructor(status, title, { metrics = [], cause } = {}) {
    super(title);
    const headers = { "content-type": "application/problem+json", "cache-control": "no-store" };
    this.answer = { status, headers, body: JSON.stringify({ title, status }), metrics, cause };
  }
}

/** Makes a Lambda handler from `answerTo`, which answers an event or throws a `Problem`. */
export function answers(route, answerTo) {
  let coldStart = true;
  return async (event, context) => {
    const started = performance.now();
    let answer;
    try {
      answer = await answerTo(event);
    } catch (error) {
      answer = toProblem(error).answer;
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
  // Do not log the error's message, because it may quote a username.
  const frames = error.stack?.split("\n").filter((line) => line.startsWith("    at ")) ?? [];
  const cause = [error.name, ...frames].join("\n");
  return new Problem(500, "The service failed", { metrics: ["InternalErrors"], cause });
}

/** Writes the log line of a request, with its metrics in CloudWatch's embedded metric format. */
function log(route, event, context, answer, started, coldStart) {
  const now = new Date();
  const metrics = coldStart ? [...answer.metrics, "ColdStarts"] : answer.metrics;
  const line = {
    timestamp: now.toISOString(),
    level: answer.status >= 500 ? "ERROR" : "INFO",
    message: "request",
    requestId: context.awsRequestId,
    traceId: process.env._X_AMZN_TRACE_ID,
    route,
    caller: event.requestContext.authorizer?.jwt?.claims?.sub,
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
  // CloudWatch finds metrics only in a line that is JSON. `console.log` does not write such a line,
  // because Lambda's runtime puts a time and a level before it.
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Returns a user as the API shows it. The first 48 bits of the id are the time of creation. */
export function user(id, username) {
  const milliseconds = parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
  return { id, username, created_at: new Date(milliseconds).toISOString() };
}
