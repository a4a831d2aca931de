// The rooms of src/ and what each may import: arrows point down only (docs/architecture.md).

const ROOMS = {
  base: [],
  vfio: ['base'],
  'vfio-pci': ['base', 'vfio'],
  xe: ['base'],
  'xe-vfio-pci': ['base', 'vfio', 'vfio-pci'],
  pf: ['base', 'xe', 'xe-vfio-pci/xe-sriov-vfio.ts'],
  gpu: ['base', 'vfio', 'xe', 'pf/ports.ts', 'vfio-pci/pci-function.ts', 'sys'],
  'vfio-user': ['base', 'vfio', 'sys'],
  linux: ['base', 'vfio', 'vfio-pci', 'xe', 'xe-vfio-pci/xe-sriov-vfio.ts', 'sys'],
  sys: ['base'],
  migration: ['base', 'vfio', 'xe'],
  app: [
    'base',
    'vfio',
    'vfio-pci',
    'xe',
    'xe-vfio-pci',
    'pf',
    'gpu',
    'vfio-user',
    'linux',
    'sys',
    'migration',
  ],
  cli: ['app', 'base'],
};

/** The packages that a room may import; everything else is Node's own or ours. */
const PACKAGES = {
  sys: ['koffi'],
  app: ['zod', 'pino'],
  cli: ['commander', 'pino', 'zod'],
};

/** Rooms that compute and hold state only: no files, no processes, no network. */
const PURE_ROOMS = ['base', 'vfio', 'vfio-pci', 'xe', 'xe-vfio-pci', 'pf'];

/** The Node modules that compute and hold no outside resource. */
const PURE_NODE_MODULES = ['buffer', 'crypto', 'events', 'util', 'zlib'];

const escapeDots = (text) => text.replaceAll('.', '\\.');

/** A regular expression for a room's directory or one file in it. */
const pathOf = (name) => (name.endsWith('.ts') ? `^src/${escapeDots(name)}$` : `^src/${name}/`);

const roomRules = Object.entries(ROOMS).map(([room, allowed]) => ({
  name: `room-${room}`,
  severity: 'error',
  comment: `${room} may import ${allowed.length === 0 ? 'no other room' : allowed.join(', ')}`,
  from: { path: `^src/${room}/` },
  to: { path: '^src/', pathNot: [room, ...allowed].map(pathOf) },
}));

const packageRules = Object.keys(ROOMS).map((room) => ({
  name: `packages-${room}`,
  severity: 'error',
  comment: `${room} may import ${(PACKAGES[room] ?? ['no package']).join(', ')}`,
  from: { path: `^src/${room}/` },
  to: {
    path: 'node_modules/',
    pathNot: (PACKAGES[room] ?? []).map((name) => `node_modules/${name}/`),
  },
}));

module.exports = {
  forbidden: [
    ...roomRules,
    ...packageRules,
    {
      name: 'pure-rooms',
      severity: 'error',
      comment: 'these rooms reach the world through ports, so that they run on any backend',
      from: { path: `^src/(${PURE_ROOMS.join('|')})/` },
      to: { dependencyTypes: ['core'], pathNot: `^(node:)?(${PURE_NODE_MODULES.join('|')})$` },
    },
    {
      name: 'known-rooms',
      severity: 'error',
      comment: 'a new room is added to the table above and to docs/architecture.md',
      from: { path: '^src/', pathNot: [...Object.keys(ROOMS).map(pathOf), '^src/index\\.ts$'] },
      to: {},
    },
    {
      name: 'no-cycles',
      severity: 'error',
      comment:
        'a cycle hides which of the two is the lower one; types alone may refer to each other',
      from: { path: '^src/' },
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'not-resolvable',
      severity: 'error',
      comment: 'an import that leads nowhere',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-test-code',
      severity: 'error',
      comment: 'what is shipped never imports tests, benches or the rig',
      from: { path: '^src/' },
      to: { path: '^(test|bench|guest|examples|scripts)/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node'] },
  },
};
