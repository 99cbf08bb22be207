export {
  type CallOptions,
  type ClassifyRequest,
  type ClassifyResponse,
  type ClassifyResult,
  type ClientOptions,
  createClient,
  type DsLoraClient,
  type Models,
  type Policies,
  type WholeResponse,
} from './client.ts';
export type { components, operations, paths } from './openapi.ts';
export { type RetryOptions, retryAfterMs } from './retry.ts';
export { type Problem, ServiceError } from './service-error.ts';
