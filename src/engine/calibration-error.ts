/** A calibration file that cannot be read, or is none. */
export class CalibrationError extends Error {
  override readonly name = 'CalibrationError';
}
