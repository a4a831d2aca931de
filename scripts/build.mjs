// `npm run build`: installs what is missing and builds dist/.

import { ensureInstalledAndBuild, fail } from './ensure.mjs';

try {
  await ensureInstalledAndBuild();
} catch (error) {
  fail('xe-vfio could not be built', error.message, 'see the output above, then: npm run build');
}
