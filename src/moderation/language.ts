/** @returns an ISO 639-1 code, or undefined when it is not sure */
export type DetectLanguage = (text: string) => string | undefined;
