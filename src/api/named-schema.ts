/** A schema that stands once in the OpenAPI document, under its `$id`, and is referred to from routes. */
import { type Static, type TSchema, type TUnsafe, Type } from 'typebox';

/** @param schema has an `$id` and is added to the app with `addSchema` */
export function refer<T extends TSchema & { readonly $id?: string }>(schema: T): TUnsafe<Static<T>> {
  return Type.Unsafe<Static<T>>({ $ref: `${schema.$id}#` });
}
