/**
 * What an ONNX file may hold, before onnxruntime is given it: standard operators, tensors of the size that they state, and
 * values in the file itself or in the files that the manifest lists. Field numbers are those of onnx/onnx.proto.
 */
import { type Field, LENGTH_DELIMITED, openProtobuf, ProtobufError, type ProtobufFile } from './protobuf.ts';
import { checkTensor, shown } from './tensor.ts';

/** Operators of ONNX itself, and those that are compiled into onnxruntime. Any other domain needs a library of its own. */
const DOMAINS: ReadonlySet<string> = new Set(['', 'ai.onnx', 'com.microsoft']);
/** Of onnxruntime's: they load or call what is not in the graph. */
const REFUSED: ReadonlySet<string> = new Set(['EPContext', 'Snpe', 'ATen', 'PythonOp', 'PythonOpGrad', 'TritonOp']);

/** Graphs within graphs: branches and loops. */
const DEEPEST = 8;
const MOST_NODES = 200_000;
const LONGEST_NAME = 1024;
/** Problems shown at most. */
const SHOWN = 10;

interface Walk {
  readonly file: ProtobufFile;
  /** Sizes of the files that the manifest lists for the graph. */
  readonly externals: ReadonlyMap<string, number>;
  readonly problems: string[];
  /** Domains that are used, and those of the file's own functions. */
  readonly used: Set<string>;
  readonly own: Set<string>;
  nodes: number;
}

type Visit = (walk: Walk, field: Field, depth: number) => void;

/** By field number; what is not here is names, types and documentation, whose length the walk has checked. */
type Message = Readonly<Record<number, Visit>>;

const sparse: Visit = ({ problems }) => void problems.push('has sparse tensors: export it with dense ones');
const tensor: Visit = ({ file, externals, problems }, field) =>
  void problems.push(...checkTensor(file, field, externals));
const graph: Visit = (walk, field, depth) => visit(walk, GRAPH, field, depth + 1);
const node: Visit = (walk, field, depth) => {
  walk.nodes += 1;
  if (walk.nodes > MOST_NODES) throw new ProtobufError(`has more than ${MOST_NODES} nodes`);
  visit(walk, NODE, field, depth);
};

const ATTRIBUTE: Message = { 5: tensor, 6: graph, 10: tensor, 11: graph, 22: sparse, 23: sparse };

const NODE: Message = {
  4({ file, problems }, field) {
    const operator = file.text(field, LONGEST_NAME);
    if (REFUSED.has(operator))
      problems.push(`has the operator ${operator}, which loads or calls what is not in the graph`);
  },
  5: (walk, field, depth) => visit(walk, ATTRIBUTE, field, depth),
  7: ({ file, used }, field) => void used.add(file.text(field, LONGEST_NAME)),
};

const GRAPH: Message = { 1: node, 5: tensor, 15: sparse };

const FUNCTION: Message = {
  7: node,
  10: ({ file, own }, field) => void own.add(file.text(field, LONGEST_NAME)),
  11: (walk, field, depth) => visit(walk, ATTRIBUTE, field, depth),
};

const MODEL: Message = {
  7: graph,
  20: ({ problems }) => void problems.push('has training information'),
  25: (walk, field, depth) => visit(walk, FUNCTION, field, depth + 1),
};

function visit(walk: Walk, message: Message, { begin, end }: Pick<Field, 'begin' | 'end'>, depth: number): void {
  if (depth > DEEPEST) throw new ProtobufError(`has graphs within graphs, more than ${DEEPEST} deep`);
  for (const field of walk.file.fields(begin, end)) {
    const known = message[field.number];
    if (known === undefined) continue;
    if (field.wire !== LENGTH_DELIMITED) throw new ProtobufError('has a number where a message belongs');
    known(walk, field, depth);
  }
}

/**
 * @param descriptor of the file, open for reading
 * @param size of the file in bytes
 * @param externals files of external data that the manifest lists for this graph, with their sizes
 * @returns problems, each a phrase that follows the name of the file
 */
export function checkGraph(
  descriptor: number,
  size: number,
  externals: ReadonlyMap<string, number>,
): readonly string[] {
  const file = openProtobuf(descriptor, size);
  const walk: Walk = { file, externals, problems: [], used: new Set(), own: new Set(), nodes: 0 };
  try {
    visit(walk, MODEL, { begin: 0, end: size }, 0);
  } catch (error) {
    if (!(error instanceof ProtobufError)) throw error;
    return [`is no ONNX graph: it ${error.message}`];
  }
  if (walk.nodes === 0) return ['is no ONNX graph: it has no nodes'];
  const foreign = [...walk.used].filter((domain) => !DOMAINS.has(domain) && !walk.own.has(domain));
  const problems = [
    ...walk.problems,
    ...foreign.map((domain) => `has operators of the domain ${shown(domain)}, which need a library of their own`),
  ];
  return problems.length > SHOWN
    ? [...problems.slice(0, SHOWN), `has ${problems.length - SHOWN} more problems`]
    : problems;
}
